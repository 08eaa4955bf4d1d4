# Sourced by tools/test --full: the lanes that take long.
swiftshader=$PWD/build/swiftshader/vk_swiftshader_icd.json

# A mistake put in on purpose (tests/seeded.c, tests/vk_layer.c), which the lane must report: seeded PATTERN COMMAND...
seeded() {
    local pattern=$1 out
    shift
    if out=$("$@" 2>&1) || ! grep -q "$pattern" <<< "$out"; then
        echo "not noticed: $*" >&2
        return 1
    fi
}

# 72,000 cases and more: every operator at all vector widths of lavapipe, which has 4, 8, 16 lanes then;
# other cases at each
for width in 128 256 512; do
    LP_NATIVE_VECTOR_WIDTH=$width single "check-$width" \
        build/htxvk check --device name:llvmpipe --cases 222 --seed $((width * 10)) \
            --json "build/check-$width.json"
done
# the losses of a hundred steps of every model, on the host and on lavapipe
single curves tests/test_curves.py build/htxvk --device name:llvmpipe
if [ -f "$swiftshader" ]; then
    VK_DRIVER_FILES=$swiftshader VK_ICD_FILENAMES=$swiftshader \
        lane swiftshader build --suite op
else
    count skip swiftshader
fi

# kernels for matrix units, on the software driver that has some; heads of 16 channels, for it compiles
# wider ones for minutes
matrix_units() {
    local rc=0
    tools/newer "${no_install[@]}" || return 77
    tools/newer build/htxvk check linear 'matmul*' --quick --device 0 --precision fp16 --jobs 1 \
        --json build/units-1.json || rc=1
    tools/newer build/htxvk check 'attn_[bcfs]*' "B=2 N=34 M=86 D=64 heads=4 axial=2 w=40" \
        --device 0 --precision fp16 --json build/units-2.json || rc=1
    tools/newer build/htxvk check act act_bwd add attn_delta colsum cross_entropy_bwd geglu geglu_bwd layernorm \
        layernorm_bwd narrow pad rmsnorm rmsnorm_bwd rotary unfold --quick --device 0 --precision fp16 \
        --json build/units-3.json || rc=1
    tools/newer build/htxvk check attn_{band,causal,full,slots} "B=1 N=17 M=17 D=16 heads=1" --seed 17 \
        --profile huge --device 0 --precision fp16 || rc=1
    return $rc
}
single matrix-units matrix_units

# the device of tier T0 that tests/vk_layer.c makes, and which kernel rows ran on none of these
layers=/usr/share/vulkan/explicit_layer.d
floor() {
    VK_LAYER_PATH=$PWD/build/tests:$layers VK_INSTANCE_LAYERS=VK_LAYER_HTXVK_test HTXVK_LAYER_FLOOR=t0 \
        build/htxvk check --device name:llvmpipe --quick --json build/check-floor.json
}
single floor floor
kernel_rows() {
    local f at=()
    for f in build/check-{128,256,512,floor}.json build/units-{1,2,3}.json; do
        [ ! -f "$f" ] || at+=("$(basename "${f%.json}" | sed 's/units-./matrix-units/')=$f")
    done
    tools/rows "${at[@]}"
}
single rows kernel_rows

# Operators and a training of every model under Vulkan's validation layer: any message fails it. First a
# mistake of the kind that it looks for, which tests/vk_layer.c makes of what is right.
validated() {
    local rc=0 what=(copy infini)
    [ "$1" != gpu ] || what=(copy)         # others run for ever on what lies elsewhere
    VK_LAYER_PATH=$PWD/build/tests:$layers VK_INSTANCE_LAYERS=VK_LAYER_HTXVK_test HTXVK_LAYER_SEED=$1 \
        HTXVK_VALIDATION=$1 seeded 'vulkan validation: ' \
        build/htxvk check "${what[@]}" --quick --device name:llvmpipe --validation || rc=1
    HTXVK_VALIDATION=$1 build/htxvk check --device name:llvmpipe --cases "$2" --quick --validation || rc=1
    tests/test_curves.py build/htxvk --device name:llvmpipe --steps 3 --validation "$1" || rc=1
    return $rc
}
for mode in core sync gpu best; do
    single "validation-$mode" validated $mode 30
done
# each barrier left out in turn: all that are needed are reported
single barriers tests/test_barriers.py build/htxvk build/tests

# allocations, file calls and Vulkan calls of short commands fail in turn, with every code
all_faults() {
    local rc=0
    HTXVK_ALL_FAULTS=1 tests/test_faults.py build/htxvk build/tests/libfail_alloc.so || rc=1
    HTXVK_ALL_FAULTS=1 tests/test_vk_faults.py build/htxvk build/tests Faults || rc=1
    return $rc
}
single faults all_faults

# another compiler, any warning an error
clang_lane() {
    CC=clang build build-clang -Dwerror=true --
}
single clang clang_lane

# every kernel through AMD's compiler: what does not compile or spills fails, and what got worse
single amd tools/amd

# every parser for a minute on inputs that libFuzzer makes from the corpus
single fuzz tools/fuzz --seconds 60

# memory errors and undefined behaviour
sanitizers() {
    build build-asan -Db_sanitize=address,undefined -Db_lundef=false -- &&
        seeded heap-buffer-overflow build-asan/tests/seeded behind &&
        UBSAN_OPTIONS=halt_on_error=1 seeded 'signed integer overflow' build-asan/tests/seeded overflow
}
if sanitizers; then
    CK_TIMEOUT_MULTIPLIER=20 UBSAN_OPTIONS=halt_on_error=1 \
        lane sanitizers build-asan --timeout-multiplier 20
else
    count fail "sanitizers: build or seeded mistake"
fi

# threads: the pool, training and the writer of checkpoints, without a data race
threads_build() {
    build build-tsan -Db_sanitize=thread -Db_lundef=false -- &&
        TSAN_OPTIONS=halt_on_error=1 seeded 'data race' build-tsan/tests/seeded race
}
if threads_build; then
    TSAN_OPTIONS=halt_on_error=1 CK_TIMEOUT_MULTIPLIER=20 \
        lane threads build-tsan test_pool test_train test_policy test_carry storm --timeout-multiplier 20
else
    count fail "threads: build or seeded mistake"
fi

# values that were never set, and leaks, in what reads files
valgrind_lane() {
    local t check=(valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite)
    seeded 'uninitialised value' "${check[@]}" build/tests/seeded unset || return 1
    for t in base arena conf safetensors file data; do
        CK_FORK=no CK_TIMEOUT_MULTIPLIER=50 "${check[@]}" "build/tests/test_$t" || return 1
    done
    for t in build/tests/fuzz/corpus_*; do
        [ ! -x "$t" ] || [ -d "$t" ] || "${check[@]}" "$t" "tests/fuzz/corpus/${t##*corpus_}" || return 1
    done
}
if command -v valgrind > /dev/null; then
    single valgrind valgrind_lane
else
    count skip valgrind
fi

# twenty minutes of training with evaluations, samples and saves all the time: nothing may grow
soak_vulkan() {
    local leak
    for leak in memory files; do
        seeded FAILED tools/soak --minutes 0.5 --steps 1500 --leak "$leak" || return 1
    done
    VK_DRIVER_FILES=${VK_DRIVER_FILES:-/usr/share/vulkan/icd.d/lvp_icd.$(uname -m).json} tools/soak --device name:llvmpipe
}
single soak soak_vulkan

# every model, stopped and gone on with at fifty steps: the bits of a training that was left alone
cuts() {
    CK_TIMEOUT_MULTIPLIER=50 HTXVK_CUTS=50 HTXVK_CUTS_DEVICE=$1 build/tests/test_cuts
}
single cuts-host cuts host
single cuts-vulkan cuts name:llvmpipe

# killed three hundred times, most of them inside a save
single storm tools/storm
