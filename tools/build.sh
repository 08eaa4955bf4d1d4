# Sourced by tools/demo and tools/test: sets up a build folder where that is needed, and builds.
# usage: build FOLDER MESON-OPTIONS... -- NINJA-ARGUMENTS...
build() {
    local dir=$1 options=()
    shift
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    if [ ! -f "$dir/build.ninja" ]; then
        meson setup "$dir" "${options[@]}" || return
    elif [ build/toolchain/glslc -nt "$dir/build.ninja" ]; then
        meson setup --reconfigure "$dir" || return
    fi
    ninja -C "$dir" "$@"
}
