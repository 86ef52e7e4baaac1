# bool answers(address): see probe.hpp. The trap vector is the label below meanwhile, so that a fault goes there and causes no panic.
# Interrupts are masked, so only a fault goes there.

    .equ SSTATUS_SIE, 2

    .text
    .globl answers
answers:
    csrrci t0, sstatus, SSTATUS_SIE
    lla t1, 1f
    csrrw t1, stvec, t1
    lw t2, 0(a0)
    fence i, rw                 # the read before everything that depends on it
    li a0, 1
    j 2f
    .balign 4                   # as stvec demands
1:  li a0, 0                    # the mode and the mask are unchanged, so no sret is needed
2:  csrw stvec, t1
    andi t0, t0, SSTATUS_SIE
    csrs sstatus, t0
    ret
