PYTHON ?= python3
PREFIX ?= /usr/local
bindir = $(DESTDIR)$(PREFIX)/bin

server: chatserve.py
	install -m 755 chatserve.py server

test:
	$(PYTHON) -B tests/run.py

bench:
	$(PYTHON) tests/bench.py

demo:
	$(PYTHON) tests/demo.py

install:
	install -d $(bindir)
	install -m 755 chatserve.py $(bindir)/chatserve
	install -m 755 chatclient.py $(bindir)/chatclient

uninstall:
	rm -f $(bindir)/chatserve $(bindir)/chatclient

clean:
	rm -rf server __pycache__ tests/__pycache__ .mypy_cache .ruff_cache

.PHONY: test bench demo install uninstall clean
