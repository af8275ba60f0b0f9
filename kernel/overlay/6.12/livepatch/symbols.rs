//! Where functions are, and the relocations of livepatch modules
//! (`Documentation/livepatch/module-elf-format.rst`).

// SPDX-License-Identifier: GPL-2.0-only

use core::ptr;

use kernel::bindings::{self, Elf64_Rela, Elf64_Shdr, Elf64_Sym};
use kernel::ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void};

use crate::list::bytes;
use crate::patches::is_loaded;
use crate::{say, Errno, Func, Message, Module, Object, Patch, EINVAL, ENOENT, ENOEXEC};

/// `MODULE_NAME_LEN`.
pub(crate) const MODULE_NAME: usize = 64 - core::mem::size_of::<c_ulong>();
/// `KSYM_NAME_LEN`.
pub(crate) const SYMBOL_NAME: usize = bindings::KSYM_NAME_LEN as usize;
/// Longest name of an object in names of symbols and sections, on any architecture, with its end.
const OBJECT_NAME: usize = 56;

const _: () = assert!(MODULE_NAME >= OBJECT_NAME);

extern "C" {
    fn clear_relocate_add(
        sections: *mut Elf64_Shdr,
        strings: *const c_char,
        symbols: c_uint,
        section: c_uint,
        module: Module,
    );
}

/// A search for a symbol by its name and position.
struct Search {
    name: *const c_char,
    /// The how-manieth of this name, from 1; 0 for the only one.
    position: c_ulong,
    count: c_ulong,
    address: c_ulong,
}

impl Search {
    /// Takes note of one of this name; whether that is enough.
    fn found(&mut self, address: c_ulong) -> bool {
        self.address = address;
        self.count = self.count.wrapping_add(1);
        match self.position {
            0 => self.count > 1,
            position => self.count == position,
        }
    }
}

unsafe extern "C" fn found_in_image(search: *mut c_void, address: c_ulong) -> c_int {
    // SAFETY: it is the search that was given.
    c_int::from(unsafe { &mut *search.cast::<Search>() }.found(address))
}

unsafe extern "C" fn found_in_module(
    search: *mut c_void,
    name: *const c_char,
    address: c_ulong,
) -> c_int {
    // SAFETY: as above.
    let search = unsafe { &mut *search.cast::<Search>() };
    // SAFETY: both are C strings.
    let is_meant = unsafe { bytes(name) == bytes(search.name) };
    c_int::from(is_meant && search.found(address))
}

/// The address of a symbol; `object` is null for the image.
fn find(object: *const c_char, name: *const c_char, position: c_ulong) -> Result<c_ulong, Errno> {
    let mut search = Search {
        name,
        position,
        count: 0,
        address: 0,
    };
    let data = ptr::addr_of_mut!(search).cast::<c_void>();
    // SAFETY: the functions get the data that they are made for; names are C strings.
    unsafe {
        if object.is_null() {
            bindings::kallsyms_on_each_match_symbol(Some(found_in_image), name, data);
        } else {
            bindings::module_kallsyms_on_each_symbol(object, Some(found_in_module), data);
        }
    }
    let shown = if object.is_null() {
        c"vmlinux".as_ptr().cast()
    } else {
        object
    };
    if search.address == 0 {
        say(Message::NoSymbol, name, ptr::null(), 0);
    } else if position == 0 && search.count > 1 {
        say(Message::AmbiguousSymbol, name, shown, 0);
    } else if position != 0 && search.count != position {
        say(Message::NoSuchPosition, name, shown, position as c_long);
    } else {
        return Ok(search.address);
    }
    Err(EINVAL)
}

/// Bytes of the function at an address.
fn size_at(address: c_ulong) -> Option<c_ulong> {
    let mut size = 0;
    // SAFETY: the size can be written to, and the offset is not asked for.
    let found =
        unsafe { bindings::kallsyms_lookup_size_offset(address, &mut size, ptr::null_mut()) };
    (found != 0).then_some(size)
}

/// Finds a function of a patch, and its replacement.
pub(crate) fn find_func(object: Object, func: Func) -> Result<(), Errno> {
    // SAFETY: both are live, and the lock is held.
    let (object, func) = unsafe { (&*object, &mut *func) };
    let address = find(object.name, func.old_name, func.old_sympos)?;
    let Some(size) = size_at(address) else {
        say(Message::NoSize, func.old_name, ptr::null(), 0);
        return Err(ENOENT);
    };
    let new = match func.nop {
        true => address,
        false => func.new_func as c_ulong,
    };
    let Some(new_size) = size_at(new) else {
        say(Message::NoReplacementSize, func.old_name, ptr::null(), 0);
        return Err(ENOENT);
    };
    func.old_func = address as *mut c_void;
    func.old_size = size;
    func.new_func = new as *mut c_void;
    func.new_size = new_size;
    Ok(())
}

/// A C string in memory of its own.
struct Name<const N: usize>([u8; N]);

impl<const N: usize> Name<N> {
    /// The bytes, if they fit with the end and there is at least one.
    fn new(bytes: &[u8]) -> Option<Self> {
        let mut name = [0; N];
        let room = name.get_mut(..bytes.len())?;
        if bytes.is_empty() || bytes.len() >= N {
            return None;
        }
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
        Some(Self(name))
    }

    fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }
}

/// What is before and behind the first such byte.
fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = bytes.iter().position(|&byte| byte == at)?;
    Some((bytes.get(..place)?, bytes.get(place.wrapping_add(1)..)?))
}

fn decimal(bytes: &[u8]) -> Option<c_ulong> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    let mut number = None;
    for digit in digits {
        let digit = c_ulong::from(digit.wrapping_sub(b'0'));
        number = Some(
            number
                .unwrap_or(0 as c_ulong)
                .checked_mul(10)?
                .checked_add(digit)?,
        );
    }
    number
}

/// The object in a section's name, `.klp.rela.OBJECT.SECTION`.
fn section_object(name: &[u8]) -> Option<&[u8]> {
    let rest = name.strip_prefix(b".klp.rela.")?;
    let object = split(rest, b'.').map_or(rest, |(object, _)| object);
    (!object.is_empty() && object.len() < OBJECT_NAME).then_some(object)
}

/// Object, symbol and position in a symbol's name, `.klp.sym.OBJECT.SYMBOL,POSITION`.
fn symbol_parts(name: &[u8]) -> Option<(Name<OBJECT_NAME>, Name<SYMBOL_NAME>, c_ulong)> {
    let (object, rest) = split(name.strip_prefix(b".klp.sym.")?, b'.')?;
    let (symbol, position) = split(rest, b',')?;
    Some((Name::new(object)?, Name::new(symbol)?, decimal(position)?))
}

/// Why a section's relocations were not written.
struct NotWritten {
    why: Errno,
    /// Some of them may have been.
    is_begun: bool,
}

impl NotWritten {
    fn before(why: Errno) -> Self {
        Self {
            why,
            is_begun: false,
        }
    }
}

/// The parts of a module's file that its relocations need.
#[derive(Clone, Copy)]
struct File {
    module: Module,
    sections: *mut Elf64_Shdr,
    section_names: *const c_char,
    strings: *const c_char,
    /// The section of symbols.
    symbols: c_uint,
}

impl File {
    /// Finds the symbols that a section's relocations need.
    ///
    /// # Safety
    ///
    /// The file is whole and in memory, as the module loader has it.
    unsafe fn find_symbols(&self, section: *mut Elf64_Shdr, of_image: bool) -> Result<(), Errno> {
        // SAFETY: by this function's own condition.
        let (relocations, count, symbols) = unsafe {
            let section = &*section;
            let count = section.sh_size as usize / core::mem::size_of::<Elf64_Rela>();
            let symbols = (*self.sections.add(self.symbols as usize)).sh_addr as *mut Elf64_Sym;
            (section.sh_addr as *const Elf64_Rela, count, symbols)
        };
        for n in 0..count {
            // SAFETY: as above.
            let symbol = unsafe {
                let info = (*relocations.add(n)).r_info;
                &mut *symbols.add((info >> 32) as usize)
            };
            // SAFETY: as above.
            let name = unsafe { self.strings.add(symbol.st_name as usize) };
            if u32::from(symbol.st_shndx) != bindings::SHN_LIVEPATCH {
                say(Message::SymbolUnmarked, name, ptr::null(), 0);
                return Err(EINVAL);
            }
            // SAFETY: as above.
            let parts = symbol_parts(unsafe { bytes(name) });
            let Some((object, wanted, position)) = parts else {
                say(Message::SymbolMisnamed, name, ptr::null(), 0);
                return Err(EINVAL);
            };
            let is_of_image = object.0.starts_with(b"vmlinux\0");
            if is_of_image && !of_image {
                say(Message::SymbolOfImage, wanted.as_ptr(), ptr::null(), 0);
                return Err(EINVAL);
            }
            let from = if is_of_image {
                ptr::null()
            } else {
                object.as_ptr()
            };
            symbol.st_value = find(from, wanted.as_ptr(), position)? as u64;
        }
        Ok(())
    }

    /// Writes the relocations of a section if it is for this object, null for the image, or takes
    /// them back.
    ///
    /// # Safety
    ///
    /// As [`File::find_symbols`].
    unsafe fn relocate(
        &self,
        number: c_uint,
        object: *const c_char,
        write: bool,
    ) -> Result<(), NotWritten> {
        // SAFETY: by this function's own condition.
        let section = unsafe { self.sections.add(number as usize) };
        // SAFETY: as above.
        let name = unsafe { self.section_names.add((*section).sh_name as usize) };
        // SAFETY: as above.
        let Some(of) = section_object(unsafe { bytes(name) }) else {
            say(Message::SectionMisnamed, name, ptr::null(), 0);
            return Err(NotWritten::before(EINVAL));
        };
        let wanted: &[u8] = if object.is_null() {
            b"vmlinux"
        } else {
            // SAFETY: names are C strings.
            unsafe { bytes(object) }
        };
        if wanted != of {
            return Ok(());
        }
        // SAFETY: by this function's own condition.
        unsafe {
            if !write {
                let Self {
                    module,
                    sections,
                    strings,
                    symbols,
                    ..
                } = *self;
                clear_relocate_add(sections, strings, symbols, number, module);
                return Ok(());
            }
            self.find_symbols(section, of == b"vmlinux")
                .map_err(NotWritten::before)?;
            Errno::of(bindings::apply_relocate_add(
                self.sections,
                self.strings,
                self.symbols,
                number,
                self.module,
            ))
            .map_err(|why| NotWritten {
                why,
                is_begun: true,
            })
        }
    }

    /// The file of a livepatch module and its number of sections, if the loader keeps them already.
    fn of_patch(patch: Patch) -> Option<(Self, c_uint)> {
        // SAFETY: the patch is a live one, and its module one of a livepatch.
        unsafe {
            let module = (*patch).mod_;
            let info = (*module).klp_info.as_ref()?;
            let file = Self {
                module,
                sections: info.sechdrs,
                section_names: info.secstrings,
                strings: (*module).core_kallsyms.strtab,
                symbols: info.symndx,
            };
            Some((file, c_uint::from(info.hdr.e_shnum)))
        }
    }
}

/// Whether the section holds relocations that are the core's to write.
fn is_of_livepatch(section: &Elf64_Shdr) -> bool {
    section.sh_flags & u64::from(bindings::SHF_RELA_LIVEPATCH) != 0
}

/// Gives back the sections and their names that the loader has kept for the patch, if none of them holds
/// relocations for the core: nobody else reads them.
///
/// The loader keeps them for every livepatch module (`copy_module_elf()`), which is some 4 KiB.
pub(crate) fn release_sections(patch: Patch) {
    // A parameter of the module may enable the patch before the loader has copied anything.
    let Some((file, count)) = File::of_patch(patch) else {
        return;
    };
    // SAFETY: the file has that many sections.
    let is_needed =
        (0..count).any(|number| is_of_livepatch(unsafe { &*file.sections.add(number as usize) }));
    if is_needed {
        return;
    }
    // SAFETY: the lock is held, under which alone sections are read. The loader gives back what it
    // finds here when the module goes, null as well.
    unsafe {
        let info = &mut *(*file.module).klp_info;
        info.hdr.e_shnum = 0;
        info.sechdrs = ptr::null_mut();
        info.secstrings = ptr::null_mut();
        bindings::kfree(file.sections.cast::<c_void>());
        bindings::kfree(file.section_names.cast::<c_void>());
    }
}

fn each_section(patch: Patch, object: Object, write: bool) -> Result<(), Errno> {
    // SAFETY: the object is a live one.
    let name = unsafe { (*object).name };
    if name.is_null() {
        // Those of the image were written when the module was loaded.
        return Ok(());
    }
    let (file, count) = File::of_patch(patch).ok_or(ENOEXEC)?;
    for number in 1..count {
        // SAFETY: the file has that many sections.
        if !is_of_livepatch(unsafe { &*file.sections.add(number as usize) }) {
            continue;
        }
        // SAFETY: the loader keeps the file whole.
        if let Err(failed) = unsafe { file.relocate(number, name, write) } {
            if write {
                let end = number.wrapping_add(c_uint::from(failed.is_begun));
                clear(&file, end, name);
            }
            return Err(failed.why);
        }
    }
    Ok(())
}

/// Takes back what was written of the sections before this one, for a name whose relocations could not
/// all be written: they could not be written again.
fn clear(file: &File, end: c_uint, name: *const c_char) {
    for number in 1..end {
        // SAFETY: as in `each_section`.
        unsafe {
            if is_of_livepatch(&*file.sections.add(number as usize)) {
                // One that could be written can be taken back. One that could not from some place on
                // is taken back up to there, which the architecture says in the log.
                let _ = file.relocate(number, name, false);
            }
        }
    }
}

/// Writes the relocations for an object that is loaded.
pub(crate) fn relocate_object(patch: Patch, object: Object) -> Result<(), Errno> {
    each_section(patch, object, true)
}

/// Takes back those that were written.
pub(crate) fn clear_object(patch: Patch, object: Object) {
    if is_loaded(object) {
        // What could be wrong with the names was found when they were written.
        let _ = each_section(patch, object, false);
    }
}

/// `klp_apply_section_relocs` of `linux/livepatch.h`.
///
/// # Safety
///
/// Called by the module loader on a file that it has in memory.
#[no_mangle]
unsafe extern "C" fn klp_apply_section_relocs(
    module: Module,
    sections: *mut Elf64_Shdr,
    section_names: *const c_char,
    strings: *const c_char,
    symbols: c_uint,
    number: c_uint,
    object: *const c_char,
) -> c_int {
    let file = File {
        module,
        sections,
        section_names,
        strings,
        symbols,
    };
    // SAFETY: by this function's own condition.
    match unsafe { file.relocate(number, object, true) } {
        Ok(()) => 0,
        Err(failed) => failed.why.0,
    }
}
