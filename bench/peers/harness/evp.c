/* OpenSSL's EVP: the key is set once, a new nonce for each frame. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include "harness.h"

static EVP_CIPHER_CTX *enc, *dec;
static const EVP_CIPHER *kind;
static uint64_t sealed_count, opened_count;

static void prepare(const char *mode) {
	if (!strcmp(mode, "aes-128-gcm")) kind = EVP_aes_128_gcm();
	else if (!strcmp(mode, "aes-256-gcm")) kind = EVP_aes_256_gcm();
	else if (!strcmp(mode, "chacha20-poly1305")) kind = EVP_chacha20_poly1305();
	else die("unknown mode");
	printf("openssl-%s-%s\n", OpenSSL_version(OPENSSL_VERSION_STRING), mode);
	check_at = 0;
}

static void renew(void) {
	uint8_t key[32];
	if (RAND_bytes(key, sizeof key) != 1) die("no random bytes");
	EVP_CIPHER_CTX_free(enc);
	EVP_CIPHER_CTX_free(dec);
	enc = EVP_CIPHER_CTX_new();
	dec = EVP_CIPHER_CTX_new();
	if (!EVP_EncryptInit_ex(enc, kind, NULL, key, NULL) || !EVP_DecryptInit_ex(dec, kind, NULL, key, NULL)) die("no key");
	sealed_count = opened_count = 0;
}

static int seal(uint8_t *out, const uint8_t *packet, int n) {
	uint8_t nonce[12] = {0};
	int len, last;
	memcpy(nonce + 4, &sealed_count, 8);
	sealed_count++;
	if (!EVP_EncryptInit_ex(enc, NULL, NULL, NULL, nonce) || !EVP_EncryptUpdate(enc, NULL, &len, packet, AAD) ||
	    !EVP_EncryptUpdate(enc, out, &len, packet + AAD, n) || !EVP_EncryptFinal_ex(enc, out + len, &last) ||
	    !EVP_CIPHER_CTX_ctrl(enc, EVP_CTRL_AEAD_GET_TAG, 16, out + n))
		return -1;
	return n + 16;
}

static int open_(uint8_t *out, const uint8_t *sealed, int n, int size) {
	static uint8_t aad[AAD] = {0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
	uint8_t nonce[12] = {0};
	int len, last;
	memcpy(nonce + 4, &opened_count, 8);
	opened_count++;
	if (!EVP_DecryptInit_ex(dec, NULL, NULL, NULL, nonce) || !EVP_DecryptUpdate(dec, NULL, &len, aad, AAD) ||
	    !EVP_DecryptUpdate(dec, out, &len, sealed, size) || !EVP_CIPHER_CTX_ctrl(dec, EVP_CTRL_AEAD_SET_TAG, 16, (void *)(sealed + size)) ||
	    EVP_DecryptFinal_ex(dec, out + len, &last) <= 0)
		return -1;
	return size;
}
