/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the examples of `objtool-rs explain` need of the kernel's macros, reduced to what an object
 * shows. Names as in include/linux/objtool.h, asm/alternative.h and asm/nospec-branch.h.
 */

#define X86_FEATURE_XMM2 26
#define X86_FEATURE_SMAP 308

.macro annotate section:req
.Lannotate\@:
	.pushsection \section, "", @progbits
	.long	.Lannotate\@
	.popsection
.endm

.macro ANNOTATE_INTRA_FUNCTION_CALL
	annotate .discard.intra_function_calls
.endm

.macro ANNOTATE_RETPOLINE_SAFE
	annotate .discard.retpoline_safe
.endm

.macro STACK_FRAME_NON_STANDARD func:req
	.pushsection .discard.func_stack_frame_non_standard, "aw"
	.long	\func - .
	.popsection
.endm

.macro UNWIND_HINT type:req, sp_reg=0, sp_offset=0, signal=0
.Lhint\@:
	.pushsection .discard.unwind_hints
	.long	.Lhint\@ - .
	.short	\sp_offset
	.byte	\sp_reg
	.byte	\type
	.byte	\signal
	.balign	4
	.popsection
.endm

.macro UNWIND_HINT_FUNC
	UNWIND_HINT type=5
.endm

.macro UNWIND_HINT_SAVE
	UNWIND_HINT type=6
.endm

.macro UNWIND_HINT_RESTORE
	UNWIND_HINT type=7
.endm

.macro altinstr_entry original:req, replacement:req, feature:req, original_len:req, replacement_len:req
	.long	\original - .
	.long	\replacement - .
	.long	\feature
	.byte	\original_len
	.byte	\replacement_len
.endm

.macro ALTERNATIVE original, replacement, feature
.Loriginal\@:
	\original
.Loriginal_end\@:
	/* The assembler's true is -1. */
	.skip	-((.Lreplacement_end\@ - .Lreplacement\@) - (.Loriginal_end\@ - .Loriginal\@) > 0) * ((.Lreplacement_end\@ - .Lreplacement\@) - (.Loriginal_end\@ - .Loriginal\@)), 0x90
.Lpadded\@:
	.pushsection .altinstructions, "a"
	altinstr_entry .Loriginal\@, .Lreplacement\@, \feature, .Lpadded\@-.Loriginal\@, .Lreplacement_end\@-.Lreplacement\@
	.popsection
	.pushsection .altinstr_replacement, "ax"
.Lreplacement\@:
	\replacement
.Lreplacement_end\@:
	.popsection
.endm
