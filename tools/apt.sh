# Sourced: packages of Debian suites that the machine does not use, unpacked beside it.

# The mirror of this machine's own Debian release, from one-line or deb822 sources.
mirror_of() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        sed -n 's/^[[:space:]]*deb[[:space:]]\+\(\[[^]]*\][[:space:]]*\)\?//p' |
        awk -v s="$1" '$2 == s && / main/ { print $1 }'
    cat /etc/apt/sources.list.d/*.sources 2>/dev/null | awk -v s="$1" -v RS= '
        {
            uri = suites = comps = ""; on = 1; types = ""
            n = split($0, line, "\n")
            for (i = 1; i <= n; i++) {
                if (line[i] ~ /^#/) continue
                key = tolower(line[i]); sub(/:.*/, "", key)
                value = line[i]; sub(/^[^:]*:[ \t]*/, "", value)
                if (key == "uris") uri = value
                if (key == "types") types = value
                if (key == "suites") suites = " " value " "
                if (key == "components") comps = " " value " "
                if (key == "enabled" && tolower(value) == "no") on = 0
            }
            split(uri, first, " ")
            if (on && types ~ /deb( |$)/ && index(suites, " " s " ") && index(comps, " main "))
                print first[1]
        }'
}

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# apt_apart MIRROR "SUITE..." FOLDER PACKAGE...: with folders of its own for apt and a signed index,
# downloads packages and unpacks them into FOLDER; nothing is installed. $download: how.
apt_apart() {
    local mirror=$1 suites=$2 into=$3 d suite
    shift 3
    [ -f $keyring ] || { echo "there is no $keyring" >&2; return 1; }
    # below /tmp so that apt may give up root for the download
    d=$(mktemp -d)
    chmod 755 "$d"
    mkdir -p "$d"/lists/partial "$d"/cache/archives/partial "$d"/deb
    : > "$d/status"
    for suite in $suites; do
        echo "deb [signed-by=$keyring] $mirror $suite main"
    done > "$d/sources.list"
    [ "$(id -u)" != 0 ] || chown -R _apt "$d/lists/partial" "$d/cache/archives/partial" "$d/deb"
    local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$d/sources.list" -o Dir::Etc::sourceparts=-
        -o "Dir::State=$d" -o "Dir::State::lists=$d/lists" -o "Dir::State::status=$d/status"
        -o "Dir::Cache=$d/cache" -o Acquire::Languages=none -o Acquire::Retries=2)
    local rc=0
    { "${apt[@]}" update && (cd "$d/deb" && "${apt[@]}" "${download[@]}" "$@"); } >&2 || rc=1
    local deb
    if [ $rc = 0 ]; then
        for deb in "$d"/deb/*.deb "$d"/cache/archives/*.deb; do
            [ ! -e "$deb" ] || dpkg -x "$deb" "$into" || rc=1
        done
    fi
    rm -rf "$d"
    return $rc
}

# fetch_debs MIRROR SUITE FOLDER PACKAGE...: these packages alone.
fetch_debs() {
    local download=(download)
    apt_apart "$@"
}

# The same with all that they depend on, from the last of the suites where it has it.
fetch_with_needs() {
    local download=(install --download-only --no-install-recommends -y -t "${2##* }")
    apt_apart "$@"
}
