# The trap vector of S-mode.
#
# An interrupt runs on the current stack, and saves the registers that a function may clobber. An exception is a defect of the kernel:
# it saves all registers for the dump and never returns. Offsets into struct hart: see machine.hpp.

    .equ HART_TRAP_STACK, 0
    .equ HART_REGISTERS, 8
    .equ FATAL_PANIC, 0         # offsets into struct fatal_handlers
    .equ FATAL_EXCEPTION, 8

    .text
    .balign 4
    .globl trap_vector
trap_vector:
    csrw sscratch, t0
    csrr t0, scause
    bgez t0, exception          # the top bit says interrupt
    csrr t0, sscratch

    addi sp, sp, -144
    sd ra, 0(sp)
    sd t0, 8(sp)
    sd t1, 16(sp)
    sd t2, 24(sp)
    sd t3, 32(sp)
    sd t4, 40(sp)
    sd t5, 48(sp)
    sd t6, 56(sp)
    sd a0, 64(sp)
    sd a1, 72(sp)
    sd a2, 80(sp)
    sd a3, 88(sp)
    sd a4, 96(sp)
    sd a5, 104(sp)
    sd a6, 112(sp)
    sd a7, 120(sp)
    csrr a0, scause
    call handle_interrupt_trap
    ld ra, 0(sp)
    ld t0, 8(sp)
    ld t1, 16(sp)
    ld t2, 24(sp)
    ld t3, 32(sp)
    ld t4, 40(sp)
    ld t5, 48(sp)
    ld t6, 56(sp)
    ld a0, 64(sp)
    ld a1, 72(sp)
    ld a2, 80(sp)
    ld a3, 88(sp)
    ld a4, 96(sp)
    ld a5, 104(sp)
    ld a6, 112(sp)
    ld a7, 120(sp)
    addi sp, sp, 144
    sret

    .globl panic_on_trap_stack  # panic_on_trap_stack(message, frame pointer), with interrupts masked: never returns
panic_on_trap_stack:
    ld sp, HART_TRAP_STACK(tp)
    lla t0, registered_fatal_handlers
    ld t0, FATAL_PANIC(t0)
    jalr t0                     # (message, frame pointer), never returns

exception:
    .macro save number
    sd x\number, HART_REGISTERS + 8 * \number(tp)
    .endm
    csrr t0, sscratch
    save 1
    save 2
    save 3
    save 4
    save 5
    save 6
    save 7
    save 8
    save 9
    save 10
    save 11
    save 12
    save 13
    save 14
    save 15
    save 16
    save 17
    save 18
    save 19
    save 20
    save 21
    save 22
    save 23
    save 24
    save 25
    save 26
    save 27
    save 28
    save 29
    save 30
    save 31
    ld sp, HART_TRAP_STACK(tp)
    addi a0, tp, HART_REGISTERS
    lla t0, registered_fatal_handlers
    ld t0, FATAL_EXCEPTION(t0)
    jalr t0                     # (registers), never returns
