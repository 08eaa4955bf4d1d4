# Sourced by tools/test --full: the lanes that take long.
swiftshader=$PWD/build/swiftshader/vk_swiftshader_icd.json

# every operator at the other vector widths of lavapipe, and on the smallest device there is
for width in 128 512; do
    LP_NATIVE_VECTOR_WIDTH=$width lane "width-$width" build --suite op
done
if [ -f "$swiftshader" ]; then
    VK_DRIVER_FILES=$swiftshader VK_ICD_FILENAMES=$swiftshader \
        lane swiftshader build --suite op
else
    count skip swiftshader
fi

# kernels for matrix units, on the software driver that has some: what needs them, and a training
matrix_units() {
    local out rc=0
    tools/newer "${no_install[@]}" || return 77
    tools/newer build/htxvk check linear 'matmul*' 'attn_*' --quick --device 0 --precision fp16 || rc=1
    out=$(mktemp -d)
    tools/newer build/htxvk train examples/demo.yaml --device 0 --precision fp16 --out "$out/run" \
        --set "data.train=[README.md, ARCHITECTURE.md]" --set train.steps=4 || rc=1
    rm -rf "$out"
    return $rc
}
single matrix-units matrix_units

# training under Vulkan's validation layer, synchronisation included: any message fails it
validated() {
    local out rc=0
    out=$(mktemp -d)
    build/htxvk train examples/demo.yaml --validation --out "$out/run" --set "data.train=[README.md, ARCHITECTURE.md]" \
        --set train.steps=4 || rc=1
    rm -rf "$out"
    return $rc
}
single validation validated

# every Vulkan call of a short training and a short check fails in turn, with every code
all_faults() {
    HTXVK_ALL_FAULTS=1 tests/test_vk_faults.py build/htxvk build/tests Faults
}
single vulkan-faults all_faults

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
    build build-asan -Db_sanitize=address,undefined -Db_lundef=false --
}
if sanitizers; then
    CK_TIMEOUT_MULTIPLIER=20 UBSAN_OPTIONS=halt_on_error=1 \
        lane sanitizers build-asan --timeout-multiplier 20
else
    count fail "sanitizers: build"
fi

# threads: the pool, training and the writer of checkpoints, without a data race
threads_build() {
    build build-tsan -Db_sanitize=thread -Db_lundef=false --
}
if threads_build; then
    TSAN_OPTIONS=halt_on_error=1 CK_TIMEOUT_MULTIPLIER=20 \
        lane threads build-tsan test_pool test_train test_policy test_carry storm --timeout-multiplier 20
else
    count fail "threads: build"
fi

# twenty minutes of training with evaluations, samples and saves all the time: nothing may grow
soak_vulkan() {
    VK_DRIVER_FILES=${VK_DRIVER_FILES:-/usr/share/vulkan/icd.d/lvp_icd.$(uname -m).json} tools/soak --device name:llvmpipe
}
single soak soak_vulkan
