//! What the generated bindings and the macros need at run time, and nothing else of wit-bindgen.

pub use crate::bindings;

/// `component-type` section: imports `host`, exports `lifecycle`.
pub const BASE_TYPE: &[u8] = include_bytes!("bindings/base.component-type");
/// `component-type` section of hook `address`.
pub const ADDRESS_TYPE: &[u8] = include_bytes!("bindings/address.component-type");
/// `component-type` section of hook `nodes`.
pub const NODES_TYPE: &[u8] = include_bytes!("bindings/nodes.component-type");
/// `component-type` section of hook `route`.
pub const ROUTE_TYPE: &[u8] = include_bytes!("bindings/route.component-type");

/// The bytes of a section as an array, because only an array can be placed in one.
pub const fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    let mut at = 0;
    while at < N {
        array[at] = bytes[at];
        at += 1;
    }
    array
}

/// Runs static constructors once, before the first export runs. Declaring `__wasm_call_ctors` keeps the linker from
/// calling it in front of every export.
#[cfg(target_arch = "wasm32")]
pub(crate) fn run_ctors_once() {
    use std::sync::atomic::{AtomicBool, Ordering};

    unsafe extern "C" {
        fn __wasm_call_ctors();
    }
    static RAN: AtomicBool = AtomicBool::new(false);
    if !RAN.swap(true, Ordering::Relaxed) {
        // SAFETY: the linker makes this function; it takes nothing, and it is called once, before any other code.
        unsafe { __wasm_call_ctors() }
    }
}

/// Memory that lowering a result allocated beside it.
pub(crate) struct Cleanup {
    pointer: *mut u8,
    layout: std::alloc::Layout,
}

impl Cleanup {
    /// Memory of this layout: a null pointer and no cleanup for an empty one.
    pub(crate) fn new(layout: std::alloc::Layout) -> (*mut u8, Option<Self>) {
        if layout.size() == 0 {
            return (std::ptr::null_mut(), None);
        }
        // SAFETY: the layout's size is not 0.
        let pointer = unsafe { std::alloc::alloc(layout) };
        if pointer.is_null() {
            std::alloc::handle_alloc_error(layout);
        }
        (pointer, Some(Self { pointer, layout }))
    }

    /// Leaves the memory to its receiver.
    pub(crate) fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        // SAFETY: `new` allocated the pointer with this layout, and nobody took it over by `forget`.
        unsafe { std::alloc::dealloc(self.pointer, self.layout) }
    }
}

/// How the host asks for memory to put arguments in (Canonical ABI, `realloc`).
///
/// # Safety
/// `old` is null with `old_size` 0, or what a call before returned for `old_size` and `align`; `align` is a power of
/// two; a `new_size` of 0 asks for nothing.
#[cfg(target_arch = "wasm32")]
#[unsafe(export_name = "cabi_realloc")]
unsafe extern "C" fn cabi_realloc(old: *mut u8, old_size: usize, align: usize, new_size: usize) -> *mut u8 {
    if new_size == 0 {
        return std::ptr::without_provenance_mut(align);
    }
    // SAFETY: by this function's contract the layouts are valid, not empty, and `old` is of the old one.
    let new = unsafe {
        if old_size == 0 {
            std::alloc::alloc(std::alloc::Layout::from_size_align_unchecked(new_size, align))
        } else {
            std::alloc::realloc(old, std::alloc::Layout::from_size_align_unchecked(old_size, align), new_size)
        }
    };
    if new.is_null() {
        std::arch::wasm32::unreachable();
    }
    new
}
