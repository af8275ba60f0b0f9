/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A table of entry code, made where the code is: of all pieces that end with SYM_CODE_END, once this was
 * included and entry_code_for has said what the code is entered for. Pieces for the same share a record
 * if nothing else was said between them, so they must follow each other in one section. The last word
 * in a file is ENTRY_NONE; without it, or across sections, the end of a record is no number.
 */
#ifndef _ASM_X86_ENTRY_CODE_H
#define _ASM_X86_ENTRY_CODE_H

#include <asm/irq_vectors.h>
#include <asm/trapnr.h>

/* Those of `numbered` in arch_x86_64's entry.rs. */
#define ENTRY_SYSTEM_CALL	0
#define ENTRY_FORK		1
#define ENTRY_REWOUND		2
#define ENTRY_STARTUP		3
#define ENTRY_PAGE_FAULT	4
#define ENTRY_BREAKPOINT	5
#define ENTRY_NON_MASKABLE	6
#define ENTRY_INTERRUPT		7
#define ENTRY_EXCEPTION		8
#define ENTRY_EVENT		9
/* Not entry code, and no record. */
#define ENTRY_NONE		0xffff

#ifdef CONFIG_RUST_UNWINDER

/* What it is for now, how many records and pieces there are, and whether the last record still grows. */
.set .Lentry_code_for, ENTRY_NONE
.set .Lentry_code_records, 0
.set .Lentry_code_pieces, 0
.set .Lentry_code_grows, 0

/* From here on, until it is said anew. */
.macro entry_code_for what:req
	.if \what != .Lentry_code_for
		.if .Lentry_code_grows
			.altmacro
			entry_code_closes %.Lentry_code_records, %.Lentry_code_pieces
			.noaltmacro
			.set .Lentry_code_grows, 0
		.endif
		.set .Lentry_code_for, \what
	.endif
.endm

/* The same for a vector of the IDT. */
.macro entry_code_for_vector vector:req
	.if \vector == X86_TRAP_PF
		entry_code_for ENTRY_PAGE_FAULT
	.elseif \vector == X86_TRAP_BP
		entry_code_for ENTRY_BREAKPOINT
	.elseif \vector == X86_TRAP_NMI
		entry_code_for ENTRY_NON_MASKABLE
	.elseif \vector == IA32_SYSCALL_VECTOR
		entry_code_for ENTRY_SYSTEM_CALL
	.elseif \vector >= FIRST_EXTERNAL_VECTOR
		entry_code_for ENTRY_INTERRUPT
	.else
		entry_code_for ENTRY_EXCEPTION
	.endif
.endm

.macro entry_code_closes record, piece
	.set .Lentry_code_end_\record, .Lentry_code_piece_\piece
.endm

.macro entry_code_piece_ends number
.Lentry_code_piece_\number:
.endm

.macro entry_code_opens name, record
	.pushsection .entry_code, "a"
	/* struct EntryRecord of unwind's ranges.rs. */
	.long \name - .
	.short .Lentry_code_end_\record - \name, .Lentry_code_for
	.popsection
	/* The table is no place from which it is jumped there. */
	.pushsection .discard.noendbr
	.long \name
	.popsection
.endm

.macro entry_code_ends name:req
	.if .Lentry_code_for != ENTRY_NONE
		.altmacro
		.if .Lentry_code_grows == 0
			.set .Lentry_code_records, .Lentry_code_records + 1
			.set .Lentry_code_grows, 1
			entry_code_opens \name, %.Lentry_code_records
		.endif
		.set .Lentry_code_pieces, .Lentry_code_pieces + 1
		entry_code_piece_ends %.Lentry_code_pieces
		.noaltmacro
	.endif
.endm

#undef SYM_CODE_END
#define SYM_CODE_END(name)			\
	SYM_END(name, SYM_T_NONE) ASM_NL	\
	entry_code_ends name

#else

.macro entry_code_for what:req
.endm

.macro entry_code_for_vector vector:req
.endm

#endif
#endif
