package engine

// SealBatch seals every frame; no Dst may overlap another frame's memory. Short frames cost less than by calls of their own:
// up to eight, of any keys of one size, go through one call of a kernel, where one
// frame's latencies are filled by the next.
func SealBatch(frames []GCMFrame) {
	for len(frames) > 0 {
		n := sealSome(frames)
		if n == 0 {
			frames[0].Seal()
			n = 1
		}
		frames = frames[n:]
	}
}

// OpenBatch is SealBatch for Open; the Dst of a frame that is refused is cleared
// as Open does.
func OpenBatch(frames []GCMFrame) {
	for len(frames) > 0 {
		n := openSome(frames)
		if n == 0 {
			frames[0].Open()
			n = 1
		}
		frames = frames[n:]
	}
}
