# The first instructions: OpenSBI jumps here in S-mode, no translation, interrupts masked: on one hart first, whichever that
# is, with a0 = its id and a1 = address of the device tree; and on each of the others when it is started.
#
# What a hart that is started finds in a1 is not looked at, and where it is to begin is the same for all: firmware before
# OpenSBI 1.3 (QEMU 7.2 has 1.1) may let it go before it has written down where to and with what, and then it comes here, with
# the first hart's a1. So the first to come is the first, and each of the others finds itself by its id.

    .section .text.start, "ax"
    .globl _start
_start:
    rdtime t2
    .option push
    .option norelax             # gp cannot be found through gp
    lla gp, __global_pointer$
    .option pop
    csrw sie, zero
    csrw sstatus, zero          # SIE off

    lla t0, somebody_came
    li t1, 1
    amoswap.w t1, t1, (t0)
    bnez t1, other_hart
    lla t0, boot_time_at_start
    sd t2, 0(t0)

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

other_hart:                     # its struct hart is in the table before it is started
    .equ HART_STACK, 264
    .equ HART_ID, 272
    lla t0, all_harts
4:  ld tp, 0(t0)
    beqz tp, 6f
    ld t1, HART_ID(tp)
    beq t1, a0, 5f
    addi t0, t0, 8
    j 4b
5:  ld sp, HART_STACK(tp)
    lla t0, trap_vector
    csrw stvec, t0
    li s0, 0
    li ra, 0
    call other_hart_main        # other_hart_main(), never returns
6:  wfi                         # nobody has asked for this one
    j 6b

    .section .data              # what is not cleared above
    .balign 8
    .globl boot_time_at_start
boot_time_at_start:
    .dword 0
somebody_came:
    .word 0

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
