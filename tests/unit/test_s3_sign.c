/* tests/unit/test_s3_sign.c: signatures against the examples that AWS has published, files of credentials, and XML of answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../storage/blob_s3_sign.h"
#include "../../storage/xml.h"

static const struct s3_keys example = { .id = "AKIAIOSFODNN7EXAMPLE", .secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" };
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void test_a_list_is_signed_as_the_published_example_is(void **state)
{
	(void)state;
	struct buf out = { NULL, 0, 0 };
	char date[17];
	const struct s3_signed what = { .method = "GET", .host = "examplebucket.s3.amazonaws.com", .region = "us-east-1", .path = "/",
					.query = "max-keys=2&prefix=J", .payload = EMPTY, .now_s = 1369353600 };
	s3_sign(&what, &example, date, &out);
	assert_string_equal(date, "20130524T000000Z");
	assert_string_equal((char *)out.data,
			    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
			    "SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
			    "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
	buf_free(&out);
}

static void test_an_url_is_signed_as_the_published_example_is(void **state)
{
	(void)state;
	struct buf out = { NULL, 0, 0 };
	const struct s3_signed what = { .method = "GET", .host = "examplebucket.s3.amazonaws.com", .region = "us-east-1", .path = "/test.txt",
					.now_s = 1369353600 };
	s3_presign(&what, &example, 86400, &out);
	assert_string_equal((char *)out.data,
			    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
			    "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
			    "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
	buf_free(&out);
}

static void test_what_is_signed_is_percent_encoded(void **state)
{
	(void)state;
	struct buf out = { NULL, 0, 0 };
	s3_encode(&out, "a/b c+d~\xc3\xbc%", true);
	s3_encode(&out, "/", false);
	buf_append(&out, "", 1);
	assert_string_equal((char *)out.data, "a/b%20c%2Bd~%C3%BC%25%2F");
	buf_free(&out);
}

static void expect_keys(const char *file, const char *id, const char *secret, const char *token)
{
	struct s3_keys keys;
	char text[256] = "";
	assert_int_equal(s3_keys_parse(span_str(file), &keys, text), 0);
	assert_string_equal(keys.id, id);
	assert_string_equal(keys.secret, secret);
	assert_string_equal(keys.token, token);
}

static void refuse_keys(const char *file, const char *why)
{
	struct s3_keys keys, none;
	char text[256] = "";
	memset(&none, 0, sizeof none);
	assert_true(s3_keys_parse(span_str(file), &keys, text) < 0);
	assert_string_equal(text, why);
	assert_memory_equal(&keys, &none, sizeof keys);
}

static void test_a_file_of_credentials_is_read_like_that_of_other_programs(void **state)
{
	(void)state;
	expect_keys("aws_access_key_id=I\naws_secret_access_key=S+/=\n", "I", "S+/=", "");
	expect_keys("# mine\r\n[other]\r\naws_access_key_id = no\r\n[default]\r\n aws_access_key_id = I \r\naws_secret_access_key\t=\tS\r\n"
		    "aws_session_token = T\r\nregion = x y\r\n[last]\r\naws_session_token = no\r\n",
		    "I", "S", "T");
	refuse_keys("", "no aws_access_key_id above all sections or in [default]");
	refuse_keys("[default]\naws_access_key_id=I", "no aws_secret_access_key above all sections or in [default]");
	refuse_keys("aws_access_key_id=I\naws_secret_access_key=a b\n", "line 2: the value is empty, too long or has a blank in it");
	refuse_keys("aws_access_key_id=\n", "line 1: the value is empty, too long or has a blank in it");
	char longer[400];
	(void)snprintf(longer, sizeof longer, "aws_access_key_id=%0300d\n", 1);
	refuse_keys(longer, "line 1: the value is empty, too long or has a blank in it");
}

static void expect_events(const char *text, const char *want)
{
	struct xml x = xml_begin(span_str(text));
	char got[256] = "";
	for (;;) {
		enum xml_event e = xml_next(&x);
		size_t n = strlen(got);
		if (e == XML_END || e == XML_BAD) {
			(void)snprintf(got + n, sizeof got - n, "%s", e == XML_END ? "." : "!");
			break;
		}
		(void)snprintf(got + n, sizeof got - n, e == XML_OPEN ? "<%.*s " : "%.*s", (int)x.name.len, (const char *)x.name.data);
		n = strlen(got);
		if (e == XML_CLOSE)
			(void)snprintf(got + n, sizeof got - n, "[%.*s]> ", (int)x.text.len, (const char *)x.text.data);
	}
	assert_string_equal(got, want);
}

static void test_xml_is_elements_and_texts_and_nothing_clever(void **state)
{
	(void)state;
	char out[8];
	expect_events("<?xml version='1.0'?>\n<a x='>'><b>t&amp;</b><c/></a>\n", "<a <b b[t&amp;]> <c c[]> a[]> .");
	expect_events("<a></b>", "<a !");
	expect_events("<a>", "<a !");
	expect_events("<a/><b/>", "<a a[]> !");
	expect_events("", "!");
	expect_events("text", "!");
	expect_events("<!DOCTYPE a><a/>", "!");
	expect_events("<a><![CDATA[x]]></a>", "<a !");
	expect_events("<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a>", "<a <a <a <a <a <a <a <a <a <a <a <a <a <a <a <a !");
	assert_true(xml_text(span_str("&lt;&#38;&#x3e;&quot;"), out, sizeof out));
	assert_string_equal(out, "<&>\"");
	assert_false(xml_text(span_str("&nbsp;"), out, sizeof out));
	assert_false(xml_text(span_str("&#0;"), out, sizeof out));
	assert_false(xml_text(span_str("&#x100;"), out, sizeof out));
	assert_false(xml_text(span_str("&amp"), out, sizeof out));
	assert_false(xml_text(span_str("12345678"), out, sizeof out));
	assert_true(xml_is(span_str("s3:Key"), "Key") && !xml_is(span_str("Keys"), "Key"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_list_is_signed_as_the_published_example_is),
		cmocka_unit_test(test_an_url_is_signed_as_the_published_example_is),
		cmocka_unit_test(test_what_is_signed_is_percent_encoded),
		cmocka_unit_test(test_a_file_of_credentials_is_read_like_that_of_other_programs),
		cmocka_unit_test(test_xml_is_elements_and_texts_and_nothing_clever),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
