PYTHON ?= python3
CHECK_PYTHON ?= $(PYTHON)
PREFIX ?= /usr/local
bindir = $(DESTDIR)$(PREFIX)/bin
scripts = chatserve.py chatclient.py

server: chatserve.py
	install -m 755 chatserve.py server

test:
	$(PYTHON) -B tests/run.py

lint:
	$(CHECK_PYTHON) -m ruff check --isolated --no-cache --line-length 100 --target-version py38 \
		--select E,F,W,B,UP,SIM,C4,PL,RET,PTH --ignore E501,PLR2004 $(scripts) tests
	for script in $(scripts); do \
		$(CHECK_PYTHON) -m mypy --strict --cache-dir=/dev/null $$script || exit; \
	done
	$(CHECK_PYTHON) -m mypy --cache-dir=/dev/null tests/*.py

check: lint test

bench:
	$(PYTHON) -B tests/bench.py

demo:
	$(PYTHON) -B tests/demo.py

install:
	install -d $(bindir)
	install -m 755 chatserve.py $(bindir)/chatserve
	install -m 755 chatclient.py $(bindir)/chatclient

uninstall:
	rm -f $(bindir)/chatserve $(bindir)/chatclient

clean:
	rm -rf server __pycache__ tests/__pycache__ .mypy_cache tests/.mypy_cache .ruff_cache tests/.ruff_cache

.PHONY: test lint check bench demo install uninstall clean
