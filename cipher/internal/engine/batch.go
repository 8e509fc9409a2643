package engine

// GCMFrame is one element of a batch: Src is sealed or opened under Key with the
// nonce Hi, Lo into Dst, by the rules of GCM.Seal and GCM.Open. No Dst may
// overlap another element's memory. OpenBatch sets OK.
type GCMFrame struct {
	Key           *GCM
	Dst, Src, AAD []byte
	Hi            uint32
	Lo            uint64
	OK            bool
}

// SealBatch seals every frame. Short frames cost less than by calls of their own:
// up to eight, of any keys of one size, go through one call of a kernel, where one
// frame's latencies are filled by the next.
func SealBatch(frames []GCMFrame) {
	for len(frames) > 0 {
		n := sealSome(frames)
		if n == 0 {
			f := &frames[0]
			f.Key.Seal(f.Dst, f.Src, f.Hi, f.Lo, f.AAD)
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
			f := &frames[0]
			f.OK = f.Key.Open(f.Dst, f.Src, f.Hi, f.Lo, f.AAD)
			n = 1
		}
		frames = frames[n:]
	}
}
