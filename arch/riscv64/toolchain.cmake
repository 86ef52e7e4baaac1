# Debian's riscv64-linux-gnu cross compiler, used freestanding; or a riscv64-unknown-elf one that has C++ headers
# (Debian's has none): -DINFLIGHT_TOOLCHAIN_PREFIX=riscv64-unknown-elf-. Flags of the machine are here, flags of the code
# are on the targets. -DINFLIGHT_COMPILER=clang: Clang, with the headers and the linker of the former.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR riscv64)

set(INFLIGHT_TOOLCHAIN_PREFIX "riscv64-linux-gnu-" CACHE STRING "Prefix of the RISC-V GNU toolchain's programs")
set(INFLIGHT_COMPILER "gcc" CACHE STRING "gcc or clang")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES INFLIGHT_TOOLCHAIN_PREFIX INFLIGHT_COMPILER)
if(INFLIGHT_COMPILER STREQUAL "clang")
    foreach(language C CXX ASM)
        set(CMAKE_${language}_COMPILER clang)
        set(CMAKE_${language}_COMPILER_TARGET riscv64-linux-gnu)
    endforeach()
    set(CMAKE_CXX_COMPILER clang++)
elseif(INFLIGHT_COMPILER STREQUAL "gcc")
    set(CMAKE_C_COMPILER ${INFLIGHT_TOOLCHAIN_PREFIX}gcc)
    set(CMAKE_CXX_COMPILER ${INFLIGHT_TOOLCHAIN_PREFIX}g++)
    set(CMAKE_ASM_COMPILER ${INFLIGHT_TOOLCHAIN_PREFIX}gcc)
else()
    message(FATAL_ERROR "INFLIGHT_COMPILER is gcc or clang, not '${INFLIGHT_COMPILER}'")
endif()

set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)

# No floating point: a trap saves the integer registers only. medany: the kernel is linked above 2 GiB. The linker relaxes
# calls into direct jumps, which QEMU chains where it looks indirect ones up.
set(INFLIGHT_MACHINE_FLAGS "-march=rv64imac_zicsr_zifencei -mabi=lp64 -mcmodel=medany")
if(INFLIGHT_COMPILER STREQUAL "clang") # Clang 14 has zicsr and zifencei in i, and does not know them by name
    string(REPLACE "_zicsr_zifencei" "" INFLIGHT_MACHINE_FLAGS ${INFLIGHT_MACHINE_FLAGS})
endif()
set(CMAKE_C_FLAGS_INIT "${INFLIGHT_MACHINE_FLAGS}")
set(CMAKE_CXX_FLAGS_INIT "${INFLIGHT_MACHINE_FLAGS}")
set(CMAKE_ASM_FLAGS_INIT "${INFLIGHT_MACHINE_FLAGS}")
