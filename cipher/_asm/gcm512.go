package main

import "strings"

// AES-GCM for CPUs with AVX-512, VAES, VPCLMULQDQ and VBMI (Ice Lake, Zen 4
// and later).
//
// What bounds it (Zen 5, measured): VAESENC zmm 2 a cycle, VPCLMULQDQ zmm one
// every 2 cycles. Four blocks cost 5 (AES-128) or 7 (AES-256) cycles of AES and
// 6 of CLMUL with Karatsuba's three products, so the carry-less multiplier is
// the scarce unit and everything here spares it: Karatsuba in the loop, one
// reduction for 32 blocks, the first AES round by table (roundTable).
//
// A frame of up to 512 bytes is one straight line per vector count (small): E(J0)
// runs beside the payload, up to three AAD blocks and the length block are
// multiplied as one vector, and there is one reduction. A longer frame runs the loop
// while more than 512 bytes are left and then takes the same straight line, which goes on with the
// sums of the loop's last turn, not reduced: that turn takes the powers of H beyond those of the rest.
// Seal goes into the line behind its AES (loop512.go).
//
// Registers, everywhere:
//
//	AX key   DI dst   SI src   R11 bytes left
//	R10 -16 times the number of AAD blocks in Z14; 0 when it holds a state or nothing
//	Z0-Z7 AES blocks   Z11 Z12 Z13 low, middle, high product   X19 E(J0)   X22 length block
//
// small: DX powers, R12 R13 address of the last vector of src and dst (bounced
// through the stack when its dead lanes would lie on another page: a fault
// suppressed by a mask costs 200 ns), K2 its mask, R9 0 when the counters are those of a
// frame's beginning: then they are constants, and Z8 is the nonce; else Z8 counters
// reflected, Z9 counter step. Z10 byte swap, Z14 AAD blocks or state, Z16 Z17 round keys,
// Z18 last round key, Z24-Z31 ciphertext in Open.
//
// A call takes an array of frames and runs them back to back: the end of one, which
// waits for its last reduction, overlaps with the start of the next, and registers are
// cleared once.
//
// Constant time. Reviewed line by line of this generator and, for the jumps and indexed
// loads, of what it wrote (every J, CMOV, SETEQ and every address with an index
// register): what they depend on is lengths, addresses, counters, the number of
// frames, and for Open the verdict, which is public. No load is indexed by key, text or
// tag; the round table's row is the block counter's low byte. The tag is compared as a
// whole, by VPTEST. AESENC, VPCLMULQDQ, shuffles and masked moves take no time that
// depends on data; the masks come from lengths. Every exit clears all vector registers
// and the bounce buffer (TestKernelsLeaveNoRegisters).

// Offsets in gcmKey; engine.go asserts them.
const (
	offPow   = 256                    // H^66 … H^1, then the field's one
	powTop   = 66                     // exponent of the first entry: a chunk, 32 blocks more, the length block
	offH1    = offPow + 16*(powTop-1) // H
	offMids  = 1408                   // low XOR high half of each of them, twice
	offPairs = 2560                   // Karatsuba tables of four vector pairs: low, high, middle halves
	offLo    = offPairs
	offHi    = offPairs + 256
	offMid   = offPairs + 512
	offTable = offPairs + 768 // round table
	tableLen = 4096
)

// Offsets in gcmState.
const (
	stY        = 0
	stTextBits = 16
	stAADBits  = 24
	stBlocks   = 32
	stSkip     = 40
)

// Offsets in GCMFrame.
const (
	frameKey   = 0
	frameDst   = 8
	frameSrc   = 32
	frameN     = 40
	frameAAD   = 56
	frameAADN  = 64
	frameHead  = 80
	frameHeadN = 96
	frameOK    = 100
	frameNonce = 104
	frameState = 120
	frameSize  = 128
)

const chunk = 512 // bytes of one turn of the loop: eight vectors, 32 blocks

func gcm512File() []string {
	o := cat(
		data("bswap", 0x08090a0b0c0d0e0f, 0x0001020304050607),
		data("count1234", 1, 0, 2, 0, 3, 0, 4, 0),
		data("count2345", 2, 0, 3, 0, 4, 0, 5, 0),
		data("count4", 4, 0),
		data("counters", blockCounters(2, 32)...),
		data("counter1", blockCounters(1, 1)...),
		data("reduce", 1, 0xc200000000000000, 1, 0xc200000000000000, 1, 0xc200000000000000, 1, 0xc200000000000000),
	)
	o = cat(o, bytesData("nonceBytes", nonceBytes(16)), masks16())
	// Index vectors of VPERMT2B: from vectors a, b the byte-swapped low (high)
	// 64 bits of every block, a's and b's side by side.
	for half, name := range []string{"lowHalves", "highHalves"} {
		var b []byte
		for lane := 0; lane < 4; lane++ {
			for from := 0; from < 2; from++ {
				for k := 0; k < 8; k++ {
					b = append(b, byte(64*from+16*lane+15-8*half-k))
				}
			}
		}
		o = append(o, bytesData(name, b)...)
	}
	for _, nr := range []int{10, 14} {
		o = append(o, sealFrames(nr)...)
		o = append(o, openFrames(nr)...)
		o = append(o, body(nr, true)...)
		o = append(o, body(nr, false)...)
		o = append(o, short(nr, true)...)
		o = append(o, short(nr, false)...)
	}
	return cat(o, shortData(), hash512())
}

// blockCounters is n counters from first on, as they lie in a counter block.
func blockCounters(first, n int) []uint64 {
	var o []uint64
	for i := range n {
		o = append(o, 0, uint64(first+i)<<56)
	}
	return o
}

// masks16 is 16 bytes of ones and then as many of zeros: from n bytes before its middle on a mask of n bytes.
func masks16() []string {
	masks := make([]byte, 32)
	for i := range 16 {
		masks[i] = 0xff
	}
	return bytesData("masks16", masks)
}

func bits(nr int) int { return map[int]int{10: 128, 14: 256}[nr] }

// counters builds the first n counter vectors in Z0… from the first one in Z8; swap is
// the byte swap.
func counters(n int, swap string) []string {
	var o []string
	for i := 0; i < n; i++ {
		o = append(o, f("VPSHUFB %s, Z8, Z%d", swap, i))
		if i < n-1 {
			o = append(o, "VPADDD Z9, Z8, Z8")
		}
	}
	return o
}

// smallAES encrypts n counter vectors and J0, which have the first round key, up to
// the last round, whose key is left in Z18; E(J0) is complete.
func smallAES(nr, n int) []string {
	var o []string
	for r := 1; r <= nr; r++ {
		key := 16 + r%2
		if r == nr {
			key = 18
		}
		o = append(o, f("VBROADCASTI32X4 %d(AX), Z%d", 16*r, key))
		op := "VAESENC"
		if r < nr {
			for i := 0; i < n; i++ {
				o = append(o, f("VAESENC Z%d, Z%d, Z%d", key, i, i))
			}
		} else {
			op = "VAESENCLAST"
		}
		o = append(o, f("%s X%d, X19, X19", op, key))
	}
	return o
}

// start gives n counter vectors from 2 on, and J0, the first round key: the nonce,
// with it, and what the counters differ by. R9 sends other counters to g1 … g8.
func start(n int) []string {
	o := []string{f("v%d:", n)}
	if n > 0 {
		o = append(o, "TESTQ R9, R9", f("JNZ g%d", n))
	}
	o = append(o, "VBROADCASTI32X4 (AX), Z16", "VPXORQ X16, X19, X19")
	if n > 0 {
		o = append(o, "VPXORQ Z16, Z8, Z8")
	}
	for i := range n {
		o = append(o, f("VPXORQ counters<>+%d(SB), Z8, Z%d", 64*i, i))
	}
	return append(o, f("c%d:", n))
}

// startAt is start for the counters in Z8.
func startAt(n int) []string {
	o := append([]string{f("g%d:", n)}, counters(n, "Z10")...)
	o = append(o, "VBROADCASTI32X4 (AX), Z16", "VPXORQ X16, X19, X19")
	for i := range n {
		o = append(o, f("VPXORQ Z16, Z%d, Z%d", i, i))
	}
	return append(o, f("JMP c%d", n))
}

// ends multiplies the AAD blocks (or the state) and the length block as one vector.
func ends() []string {
	return []string{
		"VINSERTI64X2 $3, X22, Z14, Z14", "VMOVDQU64 (DX)(R10*1), Z15", f("VINSERTI64X2 $3, %d(AX), Z15, Z15", offH1),
		"VPCLMULQDQ $0x00, Z15, Z14, Z11", "VPCLMULQDQ $0x11, Z15, Z14, Z13", "VPSHUFD $0x4e, Z15, Z12", "VPXORQ Z15, Z12, Z12",
		"VPSHUFD $0x4e, Z14, Z15", "VPXORQ Z15, Z14, Z14", "VPCLMULQDQ $0x00, Z14, Z12, Z12",
	}
}

// openEnds is ends for Open, where the sums may hold what the loop has left: its products are not sums yet but
// lie in openEnd.
func openEnds() []string {
	return []string{
		"VINSERTI64X2 $3, X22, Z14, Z14", "VMOVDQU64 (DX)(R10*1), Z15", f("VINSERTI64X2 $3, %d(AX), Z15, Z15", offH1),
		"VPCLMULQDQ $0x00, Z15, Z14, Z8", "VPCLMULQDQ $0x11, Z15, Z14, Z9", "VPSHUFD $0x4e, Z15, Z20", "VPXORQ Z15, Z20, Z20",
		"VPSHUFD $0x4e, Z14, Z15", "VPXORQ Z15, Z14, Z14", "VPCLMULQDQ $0x00, Z14, Z20, Z15",
	}
}

// openEnd has for each sum where openEnds leaves what is to be added to it.
var openEnd = map[string]string{"Z11": "Z8", "Z13": "Z9", "Z12": "Z15"}

// absorb multiplies ciphertext vector i, held in register reg, into the sums.
func absorb(i, reg int) []string {
	return []string{
		f("VPSHUFB Z10, Z%d, Z20", reg), "VPSHUFD $0x4e, Z20, Z23", "VPXORQ Z20, Z23, Z23",
		f("VPCLMULQDQ $0x00, %d(DX), Z20, Z14", 64*i), "VPXORQ Z14, Z11, Z11", f("VPCLMULQDQ $0x11, %d(DX), Z20, Z21", 64*i), "VPXORQ Z21, Z13, Z13",
		f("VPCLMULQDQ $0x00, %d(DX), Z23, Z23", 64*i+midsFrom), "VPXORQ Z23, Z12, Z12",
	}
}

// fold reduces the sums and adds their four lanes: the state, in X25. With
// karatsuba, Z12 still holds (l+h)(l+h).
func fold(karatsuba bool) []string { return append(foldLanes(karatsuba), "VPXORQ X13, X20, X25") }

// foldLanes is fold but for the last addition, of X13 and X20. The lanes are brought down side by side: one
// takes 5 cycles, and all that comes behind waits.
func foldLanes(karatsuba bool) []string {
	var o []string
	if karatsuba {
		o = append(o, "VPTERNLOGQ $0x96, Z11, Z13, Z12")
	}
	return append(o,
		"VPCLMULQDQ $0x10, reduce<>(SB), Z11, Z14", "VPSHUFD $0x4e, Z11, Z11", "VPTERNLOGQ $0x96, Z14, Z11, Z12",
		"VPCLMULQDQ $0x10, reduce<>(SB), Z12, Z14", "VPSHUFD $0x4e, Z12, Z12", "VPTERNLOGQ $0x96, Z14, Z12, Z13",
		"VEXTRACTI64X2 $1, Z13, X14", "VEXTRACTI64X2 $2, Z13, X25", "VEXTRACTI64X2 $3, Z13, X20", "VPTERNLOGQ $0x96, X14, X25, X20")
}

// small is the straight line for n vectors, the last one masked.
func small(nr, n int, seal bool) []string {
	o := start(n)
	last := n - 1
	if seal {
		o = append(o, merge(smallAES(nr, n), ends())...)
		o = append(o, f("s%d:", n))
		for i := 0; i < last; i++ {
			o = append(o, f("VPXORQ %d(SI), Z18, Z31", 64*i), f("VAESENCLAST Z31, Z%d, Z%d", i, i), f("VMOVDQU64 Z%d, %d(DI)", i, 64*i))
		}
		o = append(o, "VMOVDQU8.Z (R12), K2, Z31", "VPXORQ Z18, Z31, Z31", f("VAESENCLAST Z31, Z%d, Z%d", last, last),
			f("VMOVDQU8 Z%d, K2, (R13)", last), f("VMOVDQU8.Z Z%d, K2, Z%d", last, last))
		for i := 0; i < n; i++ {
			o = append(o, absorb(i, i)...)
		}
		return append(o, "JMP finish")
	}
	var g []string
	for i := 0; i < last; i++ {
		g = append(g, f("VMOVDQU64 %d(SI), Z%d", 64*i, 24+i))
	}
	g = append(g, f("VMOVDQU8.Z (R12), K2, Z%d", 24+last))
	g = append(g, openEnds()...)
	for i := 0; i < n; i++ {
		for _, l := range absorb(i, 24+i) {
			for sum, end := range openEnd {
				if product, ok := strings.CutSuffix(l, f(", %s, %s", sum, sum)); ok && i == 0 {
					l = f("VPTERNLOGQ $0x96, %s, %s, %s", strings.TrimPrefix(product, "VPXORQ "), end, sum)
				}
			}
			g = append(g, l)
		}
	}
	o = append(o, merge(smallAES(nr, n), g)...)
	for i := 0; i < n; i++ {
		o = append(o, f("VPXORQ Z18, Z%d, Z%d", 24+i, 24+i), f("VAESENCLAST Z%d, Z%d, Z%d", 24+i, i, i))
		if i < last {
			o = append(o, f("VMOVDQU64 Z%d, %d(DI)", i, 64*i))
		} else {
			o = append(o, f("VMOVDQU8 Z%d, K2, (R13)", i))
		}
	}
	return append(o, "JMP finish")
}

// wipe clears every vector register, by zero idioms, which cost no execution
// unit (VZEROALL is 1.3 ns dearer), and leaves the upper halves clean: a dirty
// one would slow every SSE instruction that follows.
func wipe() []string {
	var o []string
	for i := 0; i < 16; i++ {
		o = append(o, f("VPXOR X%d, X%d, X%d", i, i, i))
	}
	for i := 16; i < 32; i++ {
		o = append(o, f("VPXORQ X%d, X%d, X%d", i, i, i))
	}
	return append(o, "VZEROUPPER")
}

// lastVector points R12 and R13 at the last vector of the R11 bytes at SI and
// DI (1 to 512), puts its mask into K2 and jumps to v1 … v7 or falls through to v8.
func lastVector() []string {
	o := lastMask("")
	for n := 1; n < 8; n++ {
		o = append(o, f("CMPQ R11, $%d", 64*n), f("JLS v%d", n))
	}
	return o
}

// lastMask is lastVector without the jumps. A routine that has it twice tells their
// labels apart.
func lastMask(prefix string) []string {
	return []string{
		"LEAQ -1(R11), BX", "MOVQ BX, CX", "ANDQ $-64, BX", "LEAQ (SI)(BX*1), R12", "LEAQ (DI)(BX*1), R13",
		"ANDQ $63, CX", "INCQ CX", "MOVQ $-1, BX", "BZHIQ CX, BX, BX", "KMOVQ BX, K2",
		"MOVL R12, BX", "ANDL $4095, BX", "CMPL BX, $4032", f("JHI %sbouncesrc", prefix),
		f("%ssrcok:", prefix), "MOVL R13, BX", "ANDL $4095, BX", "CMPL BX, $4032", f("JHI %sbouncedst", prefix), f("%sdstok:", prefix),
	}
}

// bounceIn is where lastMask goes when a last vector might touch another page.
func bounceIn(prefix string) []string {
	return []string{
		f("%sbouncesrc:", prefix), "MOVQ SI, R14", "MOVQ DI, BX", "MOVQ R12, SI", "LEAQ buf-64(SP), DI", "MOVQ DI, R12", "REP; MOVSB",
		"MOVQ R14, SI", "MOVQ BX, DI", f("JMP %ssrcok", prefix),
		f("%sbouncedst:", prefix), "LEAQ buf-64(SP), R13", f("JMP %sdstok", prefix),
	}
}

// bounces is lastVector's other half, out of line: the last vector of src is
// brought to the stack, that of dst taken from there at the end.
func bounces() []string {
	return append(bounceIn(""),
		"unbounce:", "CMPQ R13, BX", "JNE wipebuf",
		"LEAQ -1(R11), CX", "MOVQ CX, DX", "ANDQ $-64, DX", "ADDQ DX, DI", "ANDQ $63, CX", "INCQ CX", "MOVQ BX, SI", "REP; MOVSB",
		"wipebuf:", "VPXORQ Z25, Z25, Z25", "VMOVDQU64 Z25, (BX)", "JMP done",
	)
}

// unbounce comes after the last store of what lastVector began.
func unbounce() []string {
	return []string{"LEAQ buf-64(SP), BX", "CMPQ R12, BX", "JEQ unbounce", "CMPQ R13, BX", "JEQ unbounce", "done:"}
}

// leave is the exit of a routine that used lastVector.
func leave() []string {
	return append(append(unbounce(), wipe()...), "RET")
}

func loadArgs() []string {
	return append([]string{
		"MOVQ k+0(FP), AX", "MOVQ dst+8(FP), DI", "MOVQ src+16(FP), SI", "MOVQ n+24(FP), R11",
		"MOVQ hi+32(FP), R8", "MOVQ lo+40(FP), R9",
	}, splitNonce()...)
}

// splitNonce brings hi in R8 and lo in R9 into the places of the counter block's
// halves, reflected.
func splitNonce() []string {
	return []string{"MOVQ R9, CX", "SHRQ $32, CX", "SHLQ $32, R8", "ORQ CX, R8", "SHLQ $32, R9"}
}

// body is a middle piece of a long frame: whole chunks, state in and out.
func body(nr int, seal bool) []string {
	name := f("sealBody%dAVX512", bits(nr))
	if !seal {
		name = f("openBody%dAVX512", bits(nr))
	}
	o := text(f(`func %s(k *gcmKey, dst, src *byte, n int, hi, lo uint64, st *gcmState)
		n bytes, a positive multiple of 512, from block st.blocks (a multiple of 256) on; st.y is brought forward.`, name), name, 0, 56)
	o = append(o, loadArgs()...)
	o = append(o, "BSWAPQ R8", "MOVQ st+48(FP), CX", f("VMOVDQU64 %d(CX), X25", stY), f("ADDQ %d(CX), R9", stBlocks))
	o = append(o, cat(longSetup(nr), tableBase("Z29"), []string{"VMOVDQA64 Z29, Z9"})...)
	o = append(o, loop(nr, seal, []string{"VMOVDQA64 Z25, Z13", "VMOVDQA64 Z25, Z12", "VPXORQ Z11, Z11, Z11"}, 0, false)...)
	o = append(o, "MOVQ st+48(FP), CX", f("VMOVDQU64 X25, %d(CX)", stY))
	o = append(o, wipe()...)
	return append(o, "RET", "")
}

func hash512() []string {
	o := text(`func hashAVX512(k *gcmKey, y *[16]byte, p *byte, n int)
		GHASH of n > 0 bytes, zero-padded, on to the state y: for AAD that does not fit one block.
		Registers: Z25 state, Z15 H^4 … H^1, Z10 byte swap, the rest as in the loop.`, "hashAVX512", 64, 32)
	mul := []string{"VPSHUFB Z10, Z0, Z0", "VPXORQ Z25, Z0, Z0",
		"VPCLMULQDQ $0x00, Z15, Z0, Z11", "VPCLMULQDQ $0x11, Z15, Z0, Z13", "VPCLMULQDQ $0x01, Z15, Z0, Z12", "VPCLMULQDQ $0x10, Z15, Z0, Z0", "VPXORQ Z0, Z12, Z12"}
	mul = append(mul, fold(false)...)
	o = append(o, "MOVQ k+0(FP), AX", "MOVQ y+8(FP), DX", "MOVQ p+16(FP), SI", "MOVQ n+24(FP), R11",
		"VBROADCASTI32X4 bswap<>(SB), Z10", "VMOVDQU (DX), X0", "VMOVDQA64 X0, X25", f("VMOVDQU64 %d(AX), Z15", offH1-48),
		"turn:", "CMPQ R11, $64", "JB tail", "VMOVDQU64 (SI), Z0")
	o = append(o, mul...)
	o = append(o, "ADDQ $64, SI", "SUBQ $64, R11", "JMP turn",
		"tail:", "TESTQ R11, R11", "JZ end",
		"MOVL SI, BX", "ANDL $4095, BX", "CMPL BX, $4032", "JLS near",
		"MOVQ R11, CX", "LEAQ buf-64(SP), DI", "REP; MOVSB", "LEAQ buf-64(SP), SI",
		"near:", "MOVQ $-1, BX", "BZHIQ R11, BX, BX", "KMOVQ BX, K2", "VMOVDQU8.Z (SI), K2, Z0",
		// the last block meets H: start lower in the powers by the blocks that are missing
		"LEAQ 15(R11), BX", "ANDQ $-16, BX", "NEGQ BX", f("VMOVDQU64 %d(AX)(BX*1), Z15", offH1+16))
	o = append(o, mul...)
	o = append(o, "end:", "VMOVDQU64 X25, (DX)")
	o = append(o, wipe()...)
	return append(o, "RET", "")
}
