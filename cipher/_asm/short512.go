package main

// AES-GCM of many short frames (1 to 192 bytes, one to three vectors, AAD of at
// most 16 bytes), one behind the other as a software pipeline: while a frame is
// encrypted, the frame before it is hashed. One short frame is bound by latency
// (about 45 cycles of AES, then 60 of GHASH, for work of 25), and the reorder
// buffer holds too few frames for the core to overlap them by itself.
//
// Registers: R13 frame, R14 where the tag (Seal) or the verdict (Open) of the frame
// before goes, R12 its powers; AX, DI, SI, R8-R11, BX, CX, DX as in gcm512.go for
// the frame at hand. Z0-Z2 its blocks, Z5 its AAD and length blocks, Z7 their
// powers, Z4 scratch, Z8-Z10 and Z16-Z19 as in small; of the frame before: Z27-Z29
// ciphertext, byte-swapped, Z24 AAD and length blocks, Z26 their powers, X30
// E(J0), for Open XOR the tag received; Z11-Z15, Z20-Z23, Z25 its products.
//
// There is no branch but the loop's. Dead lanes of the last vector may lie on an
// absent page: that is correct, if slow, and too rare to spend a branch on.
// Constant time and exit as in gcm512.go.

const shortVectors = 3

func short(nr int, seal bool) []string {
	name := map[bool]string{true: "sealShort", false: "openShort"}[seal] + f("%dAVX512", bits(nr))
	o := text(f(`func %s(frames *GCMFrame, count, vectors int)
		AES-%d-GCM of count > 0 frames, each of the given number of vectors (1 to %d), all lengths
		checked. Open sets OK; the caller must clear what is refused.`, name, bits(nr), shortVectors), name, 32, 24)
	o = append(o, "MOVQ frames+0(FP), R13", "MOVQ count+8(FP), CX", f("IMULQ $%d, CX", frameSize), "ADDQ R13, CX", "MOVQ CX, end-8(SP)",
		"MOVQ (R13), R12", "MOVQ (R12), R12", f("ADDQ $%d, R12", offPow), "LEAQ dummy-32(SP), R14",
		"VBROADCASTI32X4 bswap<>(SB), Z10", "VBROADCASTI32X4 count4<>(SB), Z9")
	for _, z := range []int{24, 26, 27, 28, 29, 30} {
		o = append(o, f("VPXORQ X%d, X%d, X%d", z, z, z))
	}
	o = append(o, "MOVQ vectors+16(FP), CX")
	for v := 2; v <= shortVectors; v++ {
		o = append(o, f("CMPQ CX, $%d", v), f("JEQ frame%d", v))
	}
	for v := 1; v <= shortVectors; v++ {
		o = append(o, f("frame%d:", v))
		o = append(o, merge(shortAES(nr, v, seal), shortHash(v, seal))...)
		for i := range v {
			ct, addr, out := 27+i, f("VMOVDQU64 %d(SI), ", 64*i), f(", %d(DI)", 64*i)
			if i == v-1 {
				addr, out = f("VMOVDQU8.Z %d(SI), K3, ", 64*i), f(", K3, %d(DI)", 64*i)
			}
			store := map[bool]string{true: "VMOVDQU8", false: "VMOVDQU64"}[i == v-1]
			o = append(o, addr+f("Z%d", ct), f("VPXORQ Z%d, Z18, Z4", ct), f("VAESENCLAST Z4, Z%d, Z%d", i, i), f("%s Z%d%s", store, i, out))
			switch {
			case !seal:
				o = append(o, f("VPSHUFB Z10, Z%d, Z%d", ct, ct))
			case i == v-1:
				o = append(o, f("VMOVDQU8.Z Z%d, K3, Z%d", i, i), f("VPSHUFB Z10, Z%d, Z%d", i, ct))
			default:
				o = append(o, f("VPSHUFB Z10, Z%d, Z%d", i, ct))
			}
		}
		if seal {
			o = append(o, "VMOVDQA64 X19, X30", "LEAQ (DI)(R11*1), R14")
		} else {
			o = append(o, "VPXORQ (SI)(R11*1), X19, X30", f("LEAQ %d(R13), R14", frameOK))
		}
		o = append(o, "VMOVDQA64 Z5, Z24", "VMOVDQA64 Z7, Z26", "MOVQ DX, R12", f("ADDQ $%d, R13", frameSize), "CMPQ R13, end-8(SP)", f("JNE frame%d", v))
		o = append(o, shortHash(v, seal)...)
		if v < shortVectors {
			o = append(o, "JMP done")
		}
	}
	o = append(o, "done:")
	o = append(o, wipe()...)
	return append(o, "RET", "")
}

// shortAES sets up the frame at R13 and encrypts its counters and J0.
func shortAES(nr, v int, seal bool) []string {
	o := loadFrame("R13", seal)
	o = append(o, "LEAQ 1(R9), CX", "VMOVQ CX, X8", "VPINSRQ $1, R8, X8, X8", "VPSHUFB X10, X8, X19",
		"VSHUFI64X2 $0, Z8, Z8, Z8", "VPADDD count1234<>(SB), Z8, Z8")
	o = append(o, loadAAD("R13", "Z5", "X6", "Z4", "DX", false)...)
	o = append(o, "VINSERTI64X2 $3, X6, Z5, Z5", "LEAQ 15(R11), DX", "ANDQ $-16, DX", "NEGQ DX", f("LEAQ %d(AX)(DX*1), DX", offH1),
		"VMOVDQU64 (DX)(R10*1), Z7", f("VINSERTI64X2 $3, %d(AX), Z7, Z7", offH1),
		f("LEAQ -%d(R11), CX", 64*(v-1)), "MOVQ $-1, BX", "BZHIQ CX, BX, BX", "KMOVQ BX, K3")
	return append(o, smallAES(nr, v)...)
}

// shortHash finishes the frame before.
func shortHash(v int, seal bool) []string {
	o := []string{"VPCLMULQDQ $0x00, Z26, Z24, Z11", "VPCLMULQDQ $0x11, Z26, Z24, Z13", "VPCLMULQDQ $0x01, Z26, Z24, Z12",
		"VPCLMULQDQ $0x10, Z26, Z24, Z14", "VPXORQ Z14, Z12, Z12"}
	for i := range v {
		ct := 27 + i
		o = append(o, f("VMOVDQU64 %d(R12), Z15", 64*i),
			f("VPCLMULQDQ $0x00, Z15, Z%d, Z14", ct), "VPXORQ Z14, Z11, Z11", f("VPCLMULQDQ $0x11, Z15, Z%d, Z21", ct), "VPXORQ Z21, Z13, Z13",
			f("VPCLMULQDQ $0x01, Z15, Z%d, Z23", ct), f("VPCLMULQDQ $0x10, Z15, Z%d, Z20", ct), "VPTERNLOGQ $0x96, Z23, Z20, Z12")
	}
	o = append(o, fold(false)...)
	o = append(o, "VPSHUFB X10, X25, X25", "VPXORQ X30, X25, X25")
	if seal {
		return append(o, "VMOVDQU64 X25, (R14)")
	}
	return append(o, "VMOVDQA64 X25, X15", "VPTEST X15, X15; SETEQ (R14)")
}
