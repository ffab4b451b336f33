# For the scripts that install into an environment of the clone, and run in its top directory.

# Processes start by the thousand: the first writes what the others need not compile.
export PYTHONDONTWRITEBYTECODE=

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# Print the executable of an interpreter, given by name or path, if it runs and is 3.10 or later.
# pyenv puts shims on PATH for versions that are not active, so these are also looked for where
# pyenv has them.
find_python() {
    local pyenv_root candidate
    pyenv_root=${PYENV_ROOT:-$(pyenv root 2>/dev/null || echo "$HOME/.pyenv")}
    for candidate in "$1" "$pyenv_root"/versions/"${1#python}".*/bin/"$1"; do
        "$candidate" -c 'import sys; sys.version_info < (3, 10) and sys.exit(1); print(sys.executable)' \
            2>/dev/null && return
    done
    return 1
}

# Print the newest interpreter that can make a virtual environment, or else the newest there is.
newest_python() {
    local name executable without_venv=
    for name in python3.13 python3.12 python3.11 python3.10 python3; do
        executable=$(find_python "$name") || continue
        if has_venv "$executable"; then
            echo "$executable"
            return
        fi
        without_venv=${without_venv:-$executable}
    done
    [ -n "$without_venv" ] && echo "$without_venv"
}

# On Debian ensurepip is a package of its own, and venv does not work without it.
has_venv() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null
}

venv_package() {
    "$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
}

# prepare_venv DIRECTORY PYTHON PIP_ARGUMENT...: install, unless the same is installed already.
prepare_venv() {
    local venv=$1 python=$2 installed
    shift 2
    installed=$("$python" -VV && pwd && printf '%s\n' "$@" &&
        cat setup.cfg setup.py pyproject.toml *requirements.txt doc/requirements.txt)
    if [ "$installed" = "$(cat "$venv/installed" 2>/dev/null)" ]; then
        return
    fi
    # A source distribution has the version in PKG-INFO, a clone only in git.
    [ -e PKG-INFO ] || command -v git >/dev/null ||
        die "git is missing, and tells the version: install the system package git."
    echo "Installing into $venv (only when something has changed) ..." >&2
    "$python" -m venv --clear "$venv" &&
        "$venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check "$@" &&
        printf '%s\n' "$installed" >"$venv/installed"
}

# install_packages PACKAGE...
# Packages start their servers where nothing forbids it; the tests start servers of their own.
install_packages() (
    policy=/usr/sbin/policy-rc.d
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        die "install these system packages first: $*"
    fi
    echo "Installing system packages: $*" >&2
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$@"
)

# prepare_tests PYTHON: install the Python packages that the tests need; venv becomes the place.
prepare_tests() {
    venv=.venv-tests-$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    prepare_venv "$venv" "$1" --editable . -r test-requirements.txt
}

# Install the system packages that the tests need; venv is set by prepare_tests.
prepare_servers() {
    local missing
    if ! missing=$("$venv/bin/bindep" --brief test); then
        # Unquoted, as each word is a name.
        install_packages $missing
    fi
}

# Install a browser and other shells. They take the longest of all packages, and a few tests alone
# need them, which are skipped without.
prepare_extras() {
    local missing
    missing=$("$venv/bin/bindep" --brief extra) || (install_packages $missing) ||
        echo "These are not installed; their tests are skipped: $missing" >&2
}

# Install what the examples in JavaScript need, as their lock file says. npm comes with some packages
# of Node, and is one of its own beside others, which conflict with it: so bindep cannot name it.
# Without npm, or with a registry that is out of reach, the tests of these examples are skipped.
prepare_examples() {
    local directory=doc/examples/node lock
    lock=$directory/package-lock.json
    if cmp -s "$lock" "$directory/node_modules/installed"; then
        return
    fi
    if npm ci --prefix "$directory" --silent --no-audit --no-fund; then
        cp "$lock" "$directory/node_modules/installed"
    else
        echo "npm cannot install what $directory needs; its tests are skipped." >&2
    fi
}
