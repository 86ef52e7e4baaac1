# The first instructions. OpenSBI jumps here in S-mode, without translation and with interrupts masked: on any one hart first, with
# a0 = its id and a1 = address of the device tree, and on each of the others when it is started.
#
# The others ignore a1 and start at the same address: firmware before OpenSBI 1.3 (QEMU 7.2 has 1.1) may start a hart before it has
# stored its address and argument, and then the hart comes here with the first hart's a1. So the first hart to arrive is the boot
# hart, and each of the others finds its struct hart by its id.

    .section .text.start, "ax"
    .globl _start
_start:
    rdtime t2
    .option push
    .option norelax             # gp cannot be computed from gp
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
1:  bgeu t0, t1, 2f             # 32 bytes at a time, as kernel.ld aligns both ends
    sd zero, 0(t0)
    sd zero, 8(t0)
    sd zero, 16(t0)
    sd zero, 24(t0)
    addi t0, t0, 32
    j 1b
2:
    lla tp, boot_hart           # struct hart, see machine.hpp
    lla sp, boot_stack_end
    lla t0, trap_vector
    csrw stvec, t0
    li s0, 0                    # ends every backtrace
    li ra, 0
    call kernel_main            # kernel_main(hart id, device tree), never returns; all that the kernel defines for this port
3:  wfi
    j 3b

# A struct hart is complete before it is in the table, and in the table before its hart is started. A hart that arrives earlier, or
# that does not see the entry yet, retries for a while.
other_hart:
    .equ HART_STACK, 264
    .equ HART_ID, 272
    .equ HART_MAIN, 280
    .equ LOOKS, 1 << 26
    li t2, LOOKS
4:  lla t0, all_harts
5:  ld tp, 0(t0)
    beqz tp, 6f
    fence r, rw                 # an entry before its struct hart: pairs with the fence in describe_hart()
    ld t1, HART_ID(tp)
    beq t1, a0, 8f
    addi t0, t0, 8
    j 5b
6:  .4byte 0x0100000f           # pause, see machine.hpp
    addi t2, t2, -1
    bnez t2, 4b
7:  wfi                         # no entry: nobody started this hart
    j 7b
8:  ld sp, HART_STACK(tp)
    lla t0, trap_vector
    csrw stvec, t0
    li s0, 0
    li ra, 0
    ld t0, HART_MAIN(tp)
    jalr t0                     # never returns

    .section .data              # not cleared above
    .balign 8
    .globl boot_time_at_start
boot_time_at_start:
    .dword 0
somebody_came:
    .word 0

    .section .stacks, "aw", @nobits
    .balign 4096
    .equ STACK_GUARD, 8192      # below each stack, not mapped; see machine.hpp
    .skip STACK_GUARD
    .globl boot_stack
boot_stack:
    .skip 65536
    .globl boot_stack_end
boot_stack_end:
    .skip STACK_GUARD
    .globl trap_stack
trap_stack:                     # for a panic, because the other stack may have overflowed
    .skip 16384
    .globl trap_stack_end
trap_stack_end:
