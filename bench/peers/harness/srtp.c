/* libsrtp2 as Debian builds it: one session that sends, one that receives. libsrtp2
 * seals in place, so that the packet is copied first, as an application has to. */
#include <srtp2/srtp.h>
#include "harness.h"

static srtp_t out_session, in_session;
static int gcm;
static uint16_t sequence;

static void prepare(const char *mode) {
	if (!strcmp(mode, "aes-128-gcm")) gcm = 1;
	else if (strcmp(mode, "aes-cm-sha1-80")) die("unknown mode");
	if (srtp_init() != srtp_err_status_ok) die("srtp_init failed");
	renew();
	const char *version = srtp_get_version_string(), *number = strchr(version, ' '); /* "libsrtp2 2.5.0" */
	printf("libsrtp2-%s-%s\n", number ? number + 1 : version, mode);
	check_at = AAD;
}

static void renew(void) {
	static uint8_t key[64];
	srtp_policy_t policy;
	memset(&policy, 0, sizeof policy);
	for (size_t i = 0; i < sizeof key; i++) key[i] = (uint8_t)rand();
	if (gcm) {
		srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy.rtp);
		srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy.rtcp);
	} else {
		srtp_crypto_policy_set_rtp_default(&policy.rtp);
		srtp_crypto_policy_set_rtcp_default(&policy.rtcp);
	}
	policy.key = key;
	policy.window_size = 1024;
	if (out_session) srtp_dealloc(out_session);
	if (in_session) srtp_dealloc(in_session);
	policy.ssrc.type = ssrc_any_outbound;
	if (srtp_create(&out_session, &policy) != srtp_err_status_ok) die("no session");
	policy.ssrc.type = ssrc_any_inbound;
	if (srtp_create(&in_session, &policy) != srtp_err_status_ok) die("no session");
	sequence = 0;
}

static int seal(uint8_t *out, const uint8_t *packet, int n) {
	int len = n + AAD;
	memcpy(out, packet, len);
	sequence++;
	out[2] = sequence >> 8, out[3] = (uint8_t)sequence;
	return srtp_protect(out_session, out, &len) == srtp_err_status_ok ? len : -1;
}

static int open_(uint8_t *out, const uint8_t *sealed, int n, int size) {
	memcpy(out, sealed, n);
	return srtp_unprotect(in_session, out, &n) == srtp_err_status_ok && n == size + AAD ? n : -1;
}
