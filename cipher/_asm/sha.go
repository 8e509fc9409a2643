package main

import (
	"math/big"
	"regexp"
	"strings"
)

// SHA-256's block function with the SHA extensions, for one message and for two
// or three side by side.
//
// One message is bound by latency: 32 SHA256RNDS2 in a chain, 4 cycles each, 128
// cycles for 64 bytes. The unit itself starts one every 2 cycles; two messages
// side by side reach 85 cycles a block each (Zen 5; the scheduler does not
// alternate them perfectly), three come close to the unit's 64.
//
// Registers: X0 round constants + message and scratch; message w: state X1+5w
// (ABEF) and X2+5w (CDGH), X3+5w … X5+5w three quads of the message schedule. Of
// the schedule's last four quads one always rests on the stack: after quad i-1
// has been through SHA256MSG1 it is not wanted for two groups. The states at the
// start of a block are re-read from memory, where they are kept.
//
// Legacy SSE code: it touches no upper half and leaves none. Instructions and
// addresses depend on the count of blocks only. Every exit clears all registers
// and the schedule.

func shaFile() []string {
	o := shaTables()
	o = append(o, shaBlocks(1)...)
	o = append(o, shaBlocks(2)...)
	o = append(o, shaBlocks(3)...)
	o = append(o, shaFinish()...)
	return append(o, shaDigest()...)
}

// shaTables are the round constants and what else both files of SHA-256 read.
func shaTables() []string {
	var k []byte
	for _, w := range shaConstants() {
		k = append(k, byte(w), byte(w>>8), byte(w>>16), byte(w>>24))
	}
	return cat(bytesData("shaK", k), data("swap32", 0x0405060700010203, 0x0c0d0e0f08090a0b),
		// the end of the outer block: padding and length, 96 bytes in bits
		data("shaPad", 0x80000000, 0, 0, 96*8<<32))
}

// shaConstants are the first 32 bits of the fractional parts of the cube roots of
// the first 64 primes (FIPS 180-4, section 4.2.2).
func shaConstants() []uint32 {
	var out []uint32
	for p := int64(2); len(out) < 64; p++ {
		if !big.NewInt(p).ProbablyPrime(0) {
			continue
		}
		// the integer cube root of p * 2^96, by bisection
		n := new(big.Int).Lsh(big.NewInt(p), 96)
		lo, hi := big.NewInt(0), new(big.Int).Lsh(big.NewInt(1), 40)
		one := big.NewInt(1)
		for new(big.Int).Sub(hi, lo).Cmp(one) > 0 {
			mid := new(big.Int).Rsh(new(big.Int).Add(lo, hi), 1)
			if new(big.Int).Exp(mid, big.NewInt(3), nil).Cmp(n) <= 0 {
				lo = mid
			} else {
				hi = mid
			}
		}
		out = append(out, uint32(lo.Uint64()))
	}
	return out
}

// shaState is the register of a half of message w's state, shaQuad that of quad i of its
// schedule while it has one, and shaRest is where quad i lies when it has none.
func shaState(w, half int) int       { return 1 + 5*w + half }
func shaQuad(w, i int) int           { return 3 + 5*w + (i+3)%3 }
func shaRest(frame, w, i int) string { return f("quad-%d(SP)", frame-64*w-16*((i+4)%4)) }

// shaRounds is one block of each message; load(w, i) brings quad i < 4 into its
// register.
func shaRounds(frame, ways int, load func(w, i int) []string) []string {
	var o []string
	for i := range 16 {
		for w := range ways {
			// Rounds 4i … 4i+3. Quad i is in its register: loaded here for i < 4,
			// finished in group i-1 otherwise.
			if i < 4 {
				o = append(o, load(w, i)...)
			}
			quad, prev, next := shaQuad(w, i), shaQuad(w, i-1), shaQuad(w, i+1)
			o = append(o, f("MOVOU %d(AX), X0", 16*i), f("PADDD X%d, X0", quad),
				f("SHA256RNDS2 X0, X%d, X%d", shaState(w, 0), shaState(w, 1)),
				"PSHUFD $0x0e, X0, X0", f("SHA256RNDS2 X0, X%d, X%d", shaState(w, 1), shaState(w, 0)))
			if i >= 3 && i < 15 {
				// Quad i+1 = quad i-3 after MSG1, plus words of quads i-1 and i, then MSG2.
				o = append(o, f("MOVO X%d, X0", quad), f("PALIGNR $4, X%d, X0", prev),
					f("MOVOU %s, X%d", shaRest(frame, w, i-3), next), f("PADDD X0, X%d", next), f("SHA256MSG2 X%d, X%d", quad, next))
			}
			if i >= 1 && i < 13 {
				o = append(o, f("SHA256MSG1 X%d, X%d", quad, prev), f("MOVOU X%d, %s", prev, shaRest(frame, w, i-1)))
			}
		}
	}
	return o
}

// dirtying are the instructions that leave the upper halves of Z0-Z15 dirty, in the eyes of
// Intel's CPUs: to write any of those registers in more than 128 bits, and an
// extraction to X0-X15 though it leaves zeros there.
var dirtying = regexp.MustCompile(`^V.*, [YZ]([0-9]|1[0-5])$|^VEXTRACT.*, X([0-9]|1[0-5])$`)

// clean stops the generator if code with SHA's instructions, which are legacy SSE, has one
// that dirties upper halves behind its last VZEROUPPER but that of the exit. Each change between legacy
// SSE and VEX or EVEX instructions on X0-X15 would cost 55 ns then (Granite Rapids,
// measured): a frame takes a hundred times as long. Z16-Z31 never count, whatever is done to them.
func clean(ins []string) []string {
	from := 0
	for i, l := range ins {
		if l == "VZEROUPPER" && i+1 < len(ins) && ins[i+1] != "RET" {
			from = i
		}
	}
	for _, l := range ins[from:] {
		if l = strings.TrimSpace(l); dirtying.MatchString(l) {
			panic("dirty upper halves: " + l)
		}
	}
	return ins
}

func shaLeave(frame int) []string {
	var o []string
	for i := range 16 {
		o = append(o, f("PXOR X%d, X%d", i, i))
	}
	for i := range frame / 16 {
		o = append(o, f("MOVOU X0, quad-%d(SP)", frame-16*i))
	}
	return append(o, "RET", "")
}

func shaBlocks(ways int) []string {
	state, ptr := []string{"DI", "DX", "R8"}[:ways], []string{"SI", "BX", "R9"}[:ways]
	frame, args := 64*ways, 16*ways+8
	name := []string{"shaBlocks", "shaBlocks2", "shaBlocks3"}[ways-1]
	params := []string{"st *shaState, p *byte", "sa, sb *shaState, pa, pb *byte", "sa, sb, sc *shaState, pa, pb, pc *byte"}[ways-1]
	o := text(f(`func %s(%s, n int)
		n > 0 blocks of each message.`, name, params), name, frame, args)
	for w := range ways {
		if ways == 1 {
			o = append(o, "MOVQ st+0(FP), DI", "MOVQ p+8(FP), SI")
			break
		}
		o = append(o, f("MOVQ s%c+%d(FP), %s", 'a'+w, 8*w, state[w]), f("MOVQ p%c+%d(FP), %s", 'a'+w, 8*(ways+w), ptr[w]))
	}
	o = append(o, f("MOVQ n+%d(FP), CX", 16*ways), "LEAQ shaK<>(SB), AX")
	for w := range ways {
		o = append(o, f("MOVOU (%s), X%d", state[w], shaState(w, 0)), f("MOVOU 16(%s), X%d", state[w], shaState(w, 1)))
	}
	o = append(o, "block:")
	o = append(o, shaRounds(frame, ways, func(w, i int) []string { return shaLoad(ptr[w], w, i) })...)
	for w := range ways {
		for half := range 2 {
			o = append(o, f("MOVOU %d(%s), X0", 16*half, state[w]), f("PADDD X0, X%d", shaState(w, half)),
				f("MOVOU X%d, %d(%s)", shaState(w, half), 16*half, state[w]))
		}
		o = append(o, f("ADDQ $64, %s", ptr[w]))
	}
	o = append(o, "DECQ CX", "JNZ block")
	return append(o, shaLeave(frame)...)
}

func shaLoad(ptr string, w, i int) []string {
	return []string{f("MOVOU %d(%s), X%d", 16*i, ptr, shaQuad(w, i)), "MOVOU swap32<>(SB), X0", f("PSHUFB X0, X%d", shaQuad(w, i))}
}

// shaWords turns the state in X1 (F E B A from the lowest word up) and X2 (H G D C)
// into the digest's words, A to D in X1 and E to H in X2.
var shaWords = []string{"PSHUFD $0x1b, X1, X1", "PSHUFD $0x1b, X2, X2", "MOVO X1, X0", "PUNPCKLQDQ X2, X0", "PUNPCKHQDQ X2, X1", "MOVO X1, X2", "MOVO X0, X1"}

func shaFinish() []string {
	const frame = 64 + 64 // schedule; the block's starting state and the digest's words
	o := text(`func shaFinish(outer, st *shaState, p *byte, n int, out *[32]byte)
		The end of an HMAC: the last n > 0 blocks of the inner hash from state st on, which is left as
		it is, and the outer hash of its digest, which never passes through memory of the caller's.`, "shaFinish", frame, 40)
	o = append(o, "MOVQ outer+0(FP), DX", "MOVQ st+8(FP), DI", "MOVQ p+16(FP), SI", "MOVQ n+24(FP), CX", "MOVQ out+32(FP), BX", "LEAQ shaK<>(SB), AX",
		"MOVOU (DI), X1", "MOVOU 16(DI), X2",
		"block:", "MOVOU X1, start-64(SP)", "MOVOU X2, start-48(SP)")
	o = append(o, shaRounds(frame, 1, func(w, i int) []string { return shaLoad("SI", w, i) })...)
	o = append(o, "MOVOU start-64(SP), X0", "PADDD X0, X1", "MOVOU start-48(SP), X0", "PADDD X0, X2", "ADDQ $64, SI", "DECQ CX", "JNZ block")
	o = append(o, shaWords...)
	o = append(o, f("MOVO X1, X%d", shaQuad(0, 0)), f("MOVO X2, X%d", shaQuad(0, 1)), "MOVOU (DX), X1", "MOVOU 16(DX), X2")
	o = append(o, shaRounds(frame, 1, func(_, i int) []string {
		if i < 2 {
			return nil
		}
		return []string{f("MOVOU shaPad<>+%d(SB), X%d", 16*(i-2), shaQuad(0, i))}
	})...)
	o = append(o, "MOVOU (DX), X0", "PADDD X0, X1", "MOVOU 16(DX), X0", "PADDD X0, X2")
	o = append(o, shaWords...)
	o = append(o, "MOVOU swap32<>(SB), X0", "PSHUFB X0, X1", "PSHUFB X0, X2", "MOVOU X1, (BX)", "MOVOU X2, 16(BX)")
	return append(o, shaLeave(frame)...)
}

func shaDigest() []string {
	o := text(`func shaDigest(st *shaState, out *[32]byte)
		The state as the digest, big-endian A to H, in two 16-byte stores: the next block's loads can
		take them from the store queue.`, "shaDigest", 0, 16)
	o = append(o, "MOVQ st+0(FP), DI", "MOVQ out+8(FP), SI", "MOVOU (DI), X1", "MOVOU 16(DI), X2")
	o = append(o, shaWords...)
	return append(o, "MOVOU swap32<>(SB), X0", "PSHUFB X0, X1", "PSHUFB X0, X2", "MOVOU X1, (SI)", "MOVOU X2, 16(SI)",
		"PXOR X0, X0", "PXOR X1, X1", "PXOR X2, X2", "RET", "")
}
