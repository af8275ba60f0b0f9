# An object with a place for every operator; assembled by the tests of this folder.

	.text
	.globl	framed
	.type	framed, @function
framed:
	call	__fentry__
	push	%rbp
	mov	%rsp, %rbp
	push	%r12
	push	%rbx
	push	%rsi
	sub	$0x18, %rsp
	mov	%rdi, -0x20(%rbp)
	test	%rdi, %rdi
	je	1f
	mov	-0x20(%rbp), %rdi
	call	__SCT__key
	call	panic
1:	jne	2f
	jmp	3f
2:	pushf
	popf
	add	%rdi, 0x120(%rax)
	mov	$0x12345678, %eax
	jmp	cold_part
4:	rep movsb
5:	xor	%eax, %eax
	nopl	(%rax)
	jmp	5b
3:	add	$0x18, %rsp
	pop	%rsi
	pop	%rbx
	pop	%r12
	pop	%rbp
	jmp	__x86_return_thunk
	.size	framed, . - framed

	.globl	leaving
	.type	leaving, @function
leaving:
	call	__fentry__
	push	%rbp
	mov	%rsp, %rbp
	mov	8(%rbp), %rax
	cld
	call	framed
	test	%eax, %eax
	jne	6f
	ud2
6:	leave
	jmp	framed
	.size	leaving, . - leaving

	.globl	last
	.type	last, @function
last:
	push	%rbp
	mov	%rsp, %rbp
	mov	%rdi, %rax
	jmp	*%rax
	call	panic
	.size	last, . - last

	.section .text.unlikely, "ax", @progbits
	.type	framed.cold, @function
framed.cold:
cold_part:
	mov	%rax, %rdi
	jmp	4b
	.size	framed.cold, . - framed.cold

	.section .altinstr_replacement, "ax", @progbits
7:	stac
8:	clac
9:

	.section .altinstructions, "a", @progbits
	.long	5b - .
	.long	7b - .
	.long	0
	.byte	3, 8b - 7b
	.long	5b - .
	.long	8b - .
	.long	0
	.byte	3, 9b - 8b

	.section __ex_table, "a", @progbits
	.long	4b - .
	.long	5b - .
	.long	0

	.section __jump_table, "aw", @progbits
	.long	5b - .
	.long	3b - .
	.quad	__SCK__key - .

	.section .rodata, "a", @progbits
	.quad	3b
	.quad	5b

	.section .discard.unwind_hints, "", @progbits
	.long	4b - .
	.short	8
	.byte	5, 2, 0
	.balign	4

	.section .discard.retpoline_safe, "", @progbits
	.quad	4b

	.section .data, "aw", @progbits
__SCK__key:
	.quad	0

# What only some actions look at.
	.text
	.globl	padded
	.type	padded, @function
padded:
	endbr64
	lea	0x8(%rsp), %r10
	and	$-16, %rsp
	mov	$framed, %rdi
	lea	framed(%rip), %rdi
	ret
	int3
	.size	padded, . - padded

	.section .noinstr.text, "ax", @progbits
	.globl	quiet
	.type	quiet, @function
quiet:
10:	nop
	call	quiet
11:	nop
	jmp	__x86_return_thunk
	.size	quiet, . - quiet

	.section .entry.text, "ax", @progbits
12:	mov	%rsp, %rdi
	call	quiet
13:	nop
	jmp	quiet

	.section .discard.instr_begin, "", @progbits
	.long	10b
	.section .discard.instr_end, "", @progbits
	.long	11b
	.section .discard.noendbr, "", @progbits
	.long	12b
	.section .discard.retpoline_safe
	.long	13b
