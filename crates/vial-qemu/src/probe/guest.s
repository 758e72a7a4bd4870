# The smallest guest that tells a KVM that works from one that only opens: what every kernel does first.
# guest.rs holds it assembled: as --32 guest.s -o g.o && ld -m elf_i386 -Ttext 0xfe00 -e start g.o -o g && objcopy -O binary -j .text g
        .code16
start:  cli
        lgdtl   %cs:gdtr
        movl    %cr0, %eax              # protected mode
        orb     $1, %al
        movl    %eax, %cr0
        ljmpl   $8, $(0xffff0000 + flat)
        .code32
flat:   movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    %cr0, %eax              # SSE allowed: CR0.EM off, CR0.MP and CR4.OSFXSR on
        andb    $0xfb, %al
        orb     $2, %al
        movl    %eax, %cr0
        movl    %cr4, %eax
        orw     $0x600, %ax
        movl    %eax, %cr4
        xorl    %eax, %eax              # BMI2, where CPUID has it: a KVM that emulates does not know it
        cpuid
        cmpl    $7, %eax
        jb      sse
        movl    $7, %eax
        xorl    %ecx, %ecx
        cpuid
        btl     $8, %ebx
        jnc     sse
        movl    $21, %ecx
        movl    $1, %edx
        shlx    %edx, %ecx, %eax
        cmpl    $42, %eax
        jne     wrong
sse:    movl    $42, %eax
        movd    %eax, %xmm0
        pshufd  $0, %xmm0, %xmm1
        paddd   %xmm0, %xmm1
        movd    %xmm1, %eax
        cmpl    $84, %eax
        jne     wrong
        movl    %eax, 0x1000            # memory
        cmpl    $84, 0x1000
        jne     wrong
        movb    $42, %al
        jmp     tell
wrong:  movb    $43, %al
tell:   movw    $0xf4, %dx              # isa-debug-exit: QEMU ends with (value << 1) | 1
        outb    %al, %dx
halt:   hlt
        jmp     halt
        .balign 8
gdt:    .quad   0
        .quad   0x00cf9b000000ffff      # flat code
        .quad   0x00cf93000000ffff      # flat data
gdtr:   .word   23
        .long   0xffff0000 + gdt
