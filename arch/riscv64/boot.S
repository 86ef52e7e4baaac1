# The first instructions: OpenSBI jumps here in S-mode, on one hart (whichever came first), with the others stopped,
# a0 = this hart's id, a1 = address of the device tree, no translation, interrupts masked.

    .section .text.start, "ax"
    .globl _start
_start:
    .option push
    .option norelax             # gp cannot be found through gp
    lla gp, __global_pointer$
    .option pop
    csrw sie, zero
    csrw sstatus, zero          # SIE off

    lla t0, bss_begin
    lla t1, bss_end
1:  bgeu t0, t1, 2f
    sd zero, 0(t0)
    addi t0, t0, 8
    j 1b
2:
    lla tp, boot_hart           # struct hart, see machine.hpp
    lla sp, boot_stack_end
    lla t0, trap_vector
    csrw stvec, t0
    li s0, 0                    # ends every backtrace
    li ra, 0
    call kernel_main            # kernel_main(hart id, device tree), never returns
3:  wfi
    j 3b

# Where the other harts begin, started by the first one: a0 = this hart's id, a1 = its struct hart, the rest as above.
    .equ HART_STACK, 264
    .globl start_other_hart
start_other_hart:
    .option push
    .option norelax
    lla gp, __global_pointer$
    .option pop
    csrw sie, zero
    csrw sstatus, zero
    mv tp, a1
    ld sp, HART_STACK(tp)
    lla t0, trap_vector
    csrw stvec, t0
    li s0, 0
    li ra, 0
    call other_hart_main        # other_hart_main(), never returns
4:  wfi
    j 4b

    .section .bss
    .balign 16
    .globl boot_stack
boot_stack:
    .skip 65536
    .globl boot_stack_end
boot_stack_end:
    .skip 16384
    .globl trap_stack_end       # the stack of a panic: the other one may be what is broken
trap_stack_end:
