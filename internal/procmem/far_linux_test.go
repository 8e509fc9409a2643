package procmem

import "syscall"

// farAway puts a pattern far inside of room that is set aside and not touched, as the race
// detector does: it is not to be read as a whole.
func farAway(p [patternSize]byte) []byte {
	room, err := syscall.Mmap(-1, 0, 64<<30, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_NORESERVE)
	if err != nil {
		return p[:] // here not even address space is given for nothing
	}
	copy(room[len(room)/3:], p[:])
	return room
}
