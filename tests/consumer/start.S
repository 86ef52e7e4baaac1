# M-mode, without firmware: the first hart runs, others wait for ever. QEMU's memory is zero, so .bss is.
    .section .text.start, "ax"
    .globl _start
_start:
    csrr t0, mhartid
    bnez t0, 1f
    .option push
    .option norelax
    la gp, __global_pointer$
    .option pop
    la sp, stack_end
    li t0, 1 << 13      # mstatus.FS: the compiler may use the registers of the floating point unit
    csrs mstatus, t0
    li t0, 0x880        # mie: the timer and the PLIC end a wait, and trap never, because mstatus.MIE stays 0
    csrw mie, t0
    call kernel_main
1:  wfi
    j 1b
