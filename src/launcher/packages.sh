# shellcheck shell=bash
# Sourced by ./run and ./test. `need_packages LIST…` makes sure that the packages named in those files are installed:
# by apt as root or through sudo; where neither is possible it says what to do and ends the script.

# Lists the packages of the files given that are not installed; without dpkg, those whose command is not found.
missing_packages() {
    if command -v dpkg-query >/dev/null; then
        local wanted
        wanted=$(sed 's/#.*//' "$@" | awk 'NF { print $1 }' | sort)
        # dpkg-query complains of a package that it never heard of; what it says about the others counts all the same.
        comm -23 <(echo "$wanted") <(
            xargs dpkg-query -W -f="\${db:Status-Status} \${Package}\n" <<<"$wanted" 2>/dev/null |
                sed -n 's/^installed //p' | sort -u
        )
    else
        local package command _
        while read -r package command _; do
            case $package in '' | '#'*) continue ;; esac
            [[ $command == - ]] || command -v "$command" >/dev/null || echo "$package"
        done < <(cat "$@")
    fi
}

need_packages() {
    # Where mkfs.ext4 lives; not in the PATH of every user.
    PATH=$PATH:/usr/sbin:/sbin
    local missing packages
    packages=$(missing_packages "$@")
    [[ -n $packages ]] || return 0
    mapfile -t missing <<<"$packages"

    local install=(apt-get install -y --no-install-recommends "${missing[@]}")
    if ! command -v apt-get >/dev/null; then
        echo "run: this is not a Debian system; please install what these packages of Debian hold: ${missing[*]}" >&2
        exit 1
    fi
    local as_root=()
    if [[ $(id -u) != 0 ]]; then
        if ! command -v sudo >/dev/null || ! { sudo -n true 2>/dev/null || { [[ -t 0 && -t 2 ]] && sudo true; }; }; then
            echo "run: packages are missing; as root: apt-get update && ${install[*]}" >&2
            exit 1
        fi
        as_root=(sudo -n)
    fi
    echo "run: installing ${missing[*]}" >&2
    as_root+=(env DEBIAN_FRONTEND=noninteractive)
    install=("${as_root[@]}" "${install[@]}" -o DPkg::Lock::Timeout=300)
    # Without package lists, or with lists that are too old, the first attempt fails and fresh lists mend it.
    local log
    log=$(mktemp)
    if ! "${install[@]}" >"$log" 2>&1 </dev/null &&
        ! { "${as_root[@]}" apt-get update && "${install[@]}"; } >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        rm -f "$log"
        echo "run: the packages could not be installed; as root: apt-get update && apt-get install ${missing[*]}" >&2
        exit 1
    fi
    rm -f "$log"
}
