//go:build amd64 && !purego

package engine

// schedule is an AES key schedule, 11 or 15 round keys; the last entry holds
// tier and key size.
type schedule [16][16]byte

//go:noescape
func expand128(rk *schedule, key *byte)

//go:noescape
func expand256(rk *schedule, key *byte)

//go:noescape
func encryptBlock(rk *schedule, rounds int, dst, src *[16]byte)

//go:noescape
func decryptKeys(dk, rk *schedule, rounds int)

//go:noescape
func ctr128AVX512(rk *schedule, dst, src *byte, n int, hi, lo, block uint64)

//go:noescape
func ctr256AVX512(rk *schedule, dst, src *byte, n int, hi, lo, block uint64)

//go:noescape
func ctr128AVX2(rk *schedule, dst, src *byte, n int, hi, lo, block uint64)

//go:noescape
func ctr256AVX2(rk *schedule, dst, src *byte, n int, hi, lo, block uint64)

// kind packs tier and key size into one small number to branch on.
func kind(t tier, keySize int) byte { return byte(t)<<1 | byte(keySize>>5) }

const (
	avx2x128   = byte(avx2VAES) << 1
	avx512x128 = byte(avx512VAES) << 1
	avx512x256 = byte(avx512VAES)<<1 | 1
)

func newSchedule(key []byte, t tier) *schedule {
	s := new(schedule)
	s.expand(key, t)
	return s
}

func (s *schedule) expand(key []byte, t tier) {
	if len(key) == 16 {
		expand128(s, &key[0])
	} else {
		expand256(s, &key[0])
	}
	s[15][15] = kind(t, len(key))
}

func (s *schedule) kind() byte  { return s[15][15] }
func (s *schedule) rounds() int { return 10 + 4*int(s[15][15]&1) }

func (s *schedule) ctr(dst, src []byte, hi uint32, lo uint64) {
	for block := uint64(0); len(src) > 0; block += maxPiece / 16 {
		n := min(len(src), maxPiece)
		switch s.kind() {
		case avx512x128:
			ctr128AVX512(s, &dst[0], &src[0], n, uint64(hi), lo, block)
		case avx512x256:
			ctr256AVX512(s, &dst[0], &src[0], n, uint64(hi), lo, block)
		case avx2x128:
			ctr128AVX2(s, &dst[0], &src[0], n, uint64(hi), lo, block)
		default:
			ctr256AVX2(s, &dst[0], &src[0], n, uint64(hi), lo, block)
		}
		dst, src = dst[n:], src[n:]
	}
}
