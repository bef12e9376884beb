PYTHON ?= python3
CHECK_PYTHON ?= $(PYTHON)
PREFIX ?= /usr/local
bindir = $(DESTDIR)$(PREFIX)/bin
scripts = chatserve.py chatclient.py
ruff = $(CHECK_PYTHON) -m ruff check --isolated --no-cache --line-length 100 --target-version py38 \
	--select E,F,W,B,UP,SIM,C4,PL,RET,PTH --ignore E501,PLR2004
mypy = $(CHECK_PYTHON) -m mypy --cache-dir=/dev/null

server: chatserve.py
	install -m 755 chatserve.py server

test:
	$(PYTHON) -B tests/run.py

check:
	@$(CHECK_PYTHON) -c 'import importlib.util, sys; \
	missing = [m for m in ("ruff", "mypy") if not importlib.util.find_spec(m)]; \
	sys.exit("make check needs " + " and ".join(missing) + ", which " + sys.executable + " does not \
	have: install it there with pip, or name another Python, CHECK_PYTHON=..." if missing else 0)'
	$(ruff) $(scripts) tests
	for script in $(scripts); do $(mypy) --strict $$script || exit; done
	$(mypy) tests/*.py

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

.PHONY: test check bench demo install uninstall clean
