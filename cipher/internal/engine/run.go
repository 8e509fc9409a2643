package engine

// RunFrame has the fields of package cipher's Frame, in their order: its memory is what
// the kernels for runs read.
type RunFrame struct {
	Dst, Src, AAD []byte
	Err           error
}

// RunMost is the most frames of one call for a run.
const RunMost = 8

// GCMRun seals and opens frames of one key and of headers of one length, which
// begin what is sealed. Init goes first, then the other fields are set, word by word. The kernels
// go by what Fit was told of the frames and check nothing, but for SealShort's.
type GCMRun struct {
	key              *gcmKey
	vectors, headLen int // vectors is 0 if frames are too long for the kernels for short ones
	// Head is the header, and Salt the 12 bytes of the nonce, for a counter of 0; their
	// first byte is the lowest one of the first word. Open takes the headers from the frames.
	Head, Salt [2]uint64
	// Ctr has each frame's counter: its lowest bytes are the header's last ones, and it
	// is added bit by bit to the last eight bytes of the nonce.
	Ctr [RunMost]uint64
	// even: vectors is not 0, and all texts take as many, which has a kernel of its own.
	even bool
}

// Init prepares for headers of n bytes. False says that there is no kernel.
func (r *GCMRun) Init(key *GCM, n int) bool {
	if key.asm == nil || !key.asm.runs() || n < 1 || n > 16 {
		return false
	}
	r.key, r.headLen = key.asm, n
	return true
}

// Fit prepares for frames whose texts have from least to most bytes, with at most aad bytes
// of additional data each. False says that there is no kernel for such frames.
func (r *GCMRun) Fit(least, most, aad int) bool {
	n := r.headLen + aad
	if least < 0 || n > wholeHead || most > runTextMost {
		return false
	}
	r.vectors = (most + TagSize + 63) / 64
	if r.vectors > runVectorsMost || n > runHeadMost {
		r.vectors = 0
	}
	r.even = r.vectors > 0 && least >= 64*(r.vectors-1)
	return true
}

// Limits of the kernels for runs of short frames.
const (
	runHeadMost    = 32 // bytes of header and additional data
	runVectorsMost = 3  // vectors of text and 16 bytes more
)

// ShortText is the longest text that SealShort takes, in bytes.
const ShortText = 64*runVectorsMost - TagSize

// runTextMost is the longest text of a run in bytes: longer ones would gain nothing.
const runTextMost = 4096
