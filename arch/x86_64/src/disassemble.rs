//! Instructions in AT&T syntax, by iced-x86.

use std::string::String;

use arch::insn::Disassemble;
use iced_x86::{Decoder, DecoderOptions, Formatter as _, GasFormatter, Instruction};

use crate::X86_64;

impl Disassemble for X86_64 {
    fn disassemble(&self, code: &[u8], address: u64, sink: &mut dyn FnMut(usize, usize, &str)) {
        let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        let mut formatter = GasFormatter::new();
        let options = formatter.options_mut();
        options.set_branch_leading_zeros(false);
        options.set_small_hex_numbers_in_decimal(false);
        options.set_uppercase_hex(false);
        let mut instruction = Instruction::default();
        let mut text = String::new();
        while decoder.can_decode() {
            let offset = decoder.position();
            decoder.decode_out(&mut instruction);
            if instruction.is_invalid() {
                break;
            }
            text.clear();
            formatter.format(&instruction, &mut text);
            sink(offset, instruction.len(), &text);
        }
    }
}
