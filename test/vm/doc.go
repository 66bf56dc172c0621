// Package vm runs programs on another Linux kernel than this machine's: a Debian one, with its own
// modules, in a virtual machine of QEMU that needs no hardware support (TCG).
//
// The machine has no disk. Its initramfs holds test/vm/init, the kernel's modules and
// what the Machine names of this machine's programs and files; it tells its host by a
// virtio-serial port what becomes of the commands that it is given.
package vm
