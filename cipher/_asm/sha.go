package main

import "math/big"

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
	var k []byte
	for _, w := range shaConstants() {
		k = append(k, byte(w), byte(w>>8), byte(w>>16), byte(w>>24))
	}
	o := cat(bytesData("shaK", k), data("swap32", 0x0405060700010203, 0x0c0d0e0f08090a0b))
	o = append(o, shaBlocks(1)...)
	o = append(o, shaBlocks(2)...)
	o = append(o, shaBlocks(3)...)
	return append(o, shaDigest()...)
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
	st := func(w, half int) int { return 1 + 5*w + half }
	quad := func(w, i int) int { return 3 + 5*w + (i+3)%3 } // register of quad i while it has one
	rest := func(w, i int) string { return f("quad-%d(SP)", frame-64*w-16*((i+4)%4)) }
	for w := range ways {
		o = append(o, f("MOVOU (%s), X%d", state[w], st(w, 0)), f("MOVOU 16(%s), X%d", state[w], st(w, 1)))
	}
	o = append(o, "block:")
	for i := range 16 {
		for w := range ways {
			// Rounds 4i … 4i+3. Quad i is in its register: it was loaded here for
			// i < 4 and finished in group i-1 otherwise.
			if i < 4 {
				o = append(o, f("MOVOU %d(%s), X%d", 16*i, ptr[w], quad(w, i)), "MOVOU swap32<>(SB), X0", f("PSHUFB X0, X%d", quad(w, i)))
			}
			o = append(o, f("MOVOU %d(AX), X0", 16*i), f("PADDD X%d, X0", quad(w, i)),
				f("SHA256RNDS2 X0, X%d, X%d", st(w, 0), st(w, 1)),
				"PSHUFD $0x0e, X0, X0", f("SHA256RNDS2 X0, X%d, X%d", st(w, 1), st(w, 0)))
			if i >= 3 && i < 15 {
				// Quad i+1 = quad i-3 after MSG1, plus words i-1 and i, then MSG2.
				next := quad(w, i+1)
				o = append(o, f("MOVO X%d, X0", quad(w, i)), f("PALIGNR $4, X%d, X0", quad(w, i-1)),
					f("MOVOU %s, X%d", rest(w, i-3), next), f("PADDD X0, X%d", next), f("SHA256MSG2 X%d, X%d", quad(w, i), next))
			}
			if i >= 1 && i < 13 {
				o = append(o, f("SHA256MSG1 X%d, X%d", quad(w, i), quad(w, i-1)), f("MOVOU X%d, %s", quad(w, i-1), rest(w, i-1)))
			}
		}
	}
	for w := range ways {
		for half := range 2 {
			o = append(o, f("MOVOU %d(%s), X0", 16*half, state[w]), f("PADDD X0, X%d", st(w, half)),
				f("MOVOU X%d, %d(%s)", st(w, half), 16*half, state[w]))
		}
		o = append(o, f("ADDQ $64, %s", ptr[w]))
	}
	o = append(o, "DECQ CX", "JNZ block")
	for i := range 16 {
		o = append(o, f("PXOR X%d, X%d", i, i))
	}
	for i := range 4 * ways {
		o = append(o, f("MOVOU X0, quad-%d(SP)", frame-16*i))
	}
	return append(o, "RET", "")
}

func shaDigest() []string {
	o := text(`func shaDigest(st *shaState, out *[32]byte)
		The state as the digest, big-endian A to H, in two 16-byte stores: the next block's loads can
		take them from the store queue.`, "shaDigest", 0, 16)
	return append(o, "MOVQ st+0(FP), DI", "MOVQ out+8(FP), SI", "MOVOU (DI), X0", "MOVOU 16(DI), X1", "MOVOU swap32<>(SB), X3",
		// X0 = F E B A, X1 = H G D C from the lowest word up
		"PSHUFD $0x1b, X0, X0", "PSHUFD $0x1b, X1, X1", // A B E F, C D G H
		"MOVO X0, X2", "PUNPCKLQDQ X1, X0", "PUNPCKHQDQ X1, X2", // A B C D, E F G H
		"PSHUFB X3, X0", "PSHUFB X3, X2", "MOVOU X0, (SI)", "MOVOU X2, 16(SI)",
		"PXOR X0, X0", "PXOR X1, X1", "PXOR X2, X2", "RET", "")
}
