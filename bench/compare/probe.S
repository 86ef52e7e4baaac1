# A program for the Linux guest: reads the file named by its argument, if there is one, past the page cache (4096 bytes
# from its beginning), and prints two numbers of 16 hexadecimal digits: nanoseconds of CLOCK_BOOTTIME, and the time CSR,
# which begins with the machine. Exit status 1 if the file could not be read.
    .equ openat, 56
    .equ write, 64
    .equ pread64, 67
    .equ exit, 93
    .equ clock_gettime, 113
    .equ at_current_directory, -100
    .equ read_direct, 040000
    .equ boot_time, 7

    .text
    .globl _start
_start:
    ld t0, 0(sp) # argc
    li t1, 2
    blt t0, t1, measured
    li a0, at_current_directory
    ld a1, 16(sp) # argv[1]
    li a2, read_direct
    li a3, 0
    li a7, openat
    ecall
    la a1, buffer
    li a2, 4096
    li a3, 0
    li a7, pread64
    ecall
    li a1, 4096
    bne a0, a1, failed
measured:
    rdtime s1
    li a0, boot_time
    la a1, buffer
    li a7, clock_gettime
    ecall
    la t0, buffer
    ld s0, 0(t0)
    ld t0, 8(t0)
    li t1, 1000000000
    mul s0, s0, t1
    add s0, s0, t0
    la a1, buffer
    mv t0, s0
    call digits
    mv t0, s1
    call digits
    li t0, '\n'
    sb t0, -1(a1)
    la t1, buffer
    sub a2, a1, t1
    mv a1, t1
    li a0, 1
    li a7, write
    ecall
    li a0, 0
    li a7, exit
    ecall
failed:
    li a0, 1
    li a7, exit
    ecall

# Writes t0 and a space to a1, and moves a1 behind it.
digits:
    li t1, 60
1:
    srl t2, t0, t1
    andi t2, t2, 15
    addi t3, t2, '0'
    li t4, 10
    blt t2, t4, 2f
    addi t3, t2, 'a' - 10
2:
    sb t3, 0(a1)
    addi a1, a1, 1
    addi t1, t1, -4
    bgez t1, 1b
    li t3, ' '
    sb t3, 0(a1)
    addi a1, a1, 1
    ret

    .bss
    .balign 4096
buffer:
    .skip 4096
