# A linked program with a place for every operator on linked kernels, and functions that come close to
# breaking the discipline but do not.

	.text
	.globl _start
_start:
	hlt

	.type __fentry__, @function
__fentry__:
	ret
	.size __fentry__, . - __fentry__
	nop

	.type __x86_return_thunk, @function
__x86_return_thunk:
	ret
	.size __x86_return_thunk, . - __x86_return_thunk
	int3

	# Makes no call, and has a frame all the same.
	.type leaf, @function
leaf:
	push %rbp
	mov %rsp, %rbp
	mov $1, %eax
	add $2, %rax
	pop %rbp
	ret
	.size leaf, . - leaf
	nop

	# Makes no call, and has no frame.
	.type bare, @function
	.type bare_too, @function
bare:
bare_too:
	mov $1, %eax
	add $2, %rax
	ret
	.size bare, . - bare
	.size bare_too, . - bare_too
	nop

	# Takes its stack down piece by piece.
	.type pops, @function
pops:
	call __fentry__
	push %rbp
	mov %rsp, %rbp
	push %rbx
	sub $16, %rsp
	mov %rdi, %rbx
	mov 8(%rdi), %rsi
	call leaf
	test %eax, %eax
	jne 1f
	mov 16(%rbx), %rdi
	call leaf
1:	test %ebx, %ebx
	.byte 0x0f, 0x84	# je 2f, with a distance of four bytes
	.long 2f - . - 4
	mov 32(%rbx), %rdi
	call *24(%rbx)
2:	mov $0, %eax
	add $16, %rsp
	pop %rbx
	pop %rbp
	.byte 0xe9		# jmp, not short
	.long __x86_return_thunk - . - 4
	.size pops, . - pops
	nop

	# Takes its stack down at once, so that its depth does not matter.
	.type leaves, @function
leaves:
	call __fentry__
	push %rbp
	mov %rsp, %rbp
	sub $0x120, %rsp
	push %rdi
	mov %rdi, -8(%rbp)
	call leaf
	mov -8(%rbp), %rdi
	leave
	ret
	.size leaves, . - leaves
	nop

	# Sets the stack pointer by the frame pointer.
	.type sets, @function
sets:
	push %rbp
	mov %rsp, %rbp
	push %r12
	sub $64, %rsp
	call leaf
	mov $0, %eax
	lea -8(%rbp), %rsp
	pop %r12
	pop %rbp
	ret
	.size sets, . - sets
	nop

	# Ends with a tail call.
	.type tail, @function
tail:
	push %rbp
	mov %rsp, %rbp
	call leaf
	pop %rbp
	.byte 0xe9		# jmp, not short
	.long pops - . - 4
	.size tail, . - tail
	nop

	# Does not return.
	.type dies, @function
dies:
	push %rbp
	mov %rsp, %rbp
	call dies
	ud2
	.size dies, . - dies
	nop

	# Does not return, because of what it calls; nothing of it stands behind that.
	.type dies_too, @function
dies_too:
	push %rbp
	mov %rsp, %rbp
	call dies
	.size dies_too, . - dies_too
	nop

	# Breaks the discipline as it is.
	.type broken, @function
broken:
	call leaf
	ret
	.size broken, . - broken
	nop

	# Is patched at run time, and right only then.
	.type patched, @function
patched:
	push %rbp
	mov %rsp, %rbp
3:	push %rax
	nop
4:	call leaf
	leave
	ret
	.size patched, . - patched
	nop

	.section .altinstructions, "a"
	.long 3b - ., 3b - .
	.long 0
	.byte 4b - 3b, 0
