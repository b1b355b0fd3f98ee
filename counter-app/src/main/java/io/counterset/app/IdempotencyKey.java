// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.micronaut.http.HttpHeaders;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Parses the header {@code Idempotency-Key}: a quoted string in the syntax of structured fields
 * (RFC 8941), or the same characters without quotes. Both forms denote the same key.
 */
final class IdempotencyKey {

    static final String HEADER = "Idempotency-Key";
    static final String REPLAYED_HEADER = "Idempotency-Replayed";
    static final int MAX_LENGTH = 255;

    private IdempotencyKey() {}

    /**
     * Returns the key, or null if the request has none.
     *
     * @throws Problem.Refusal if it is malformed
     */
    static @Nullable String of(HttpHeaders headers) {
        List<String> values = headers.getAll(HEADER);
        if (values.isEmpty()) {
            return null;
        }
        if (values.size() > 1) {
            throw malformed("expected one key; this request has " + values.size());
        }
        String value = values.get(0).strip();
        String key = value.startsWith("\"") ? unquote(value) : bare(value);
        if (key.isEmpty() || key.length() > MAX_LENGTH) {
            throw malformed("a key must have 1 to " + MAX_LENGTH + " characters; this one has " + key.length());
        }
        return key;
    }

    private static Problem.Refusal malformed(String detail) {
        return new Problem.Refusal(Problem.Type.BAD_IDEMPOTENCY_KEY, detail);
    }

    private static String unquote(String value) {
        StringBuilder key = new StringBuilder(value.length());
        int i = 1;
        while (i < value.length() && value.charAt(i) != '"') {
            char c = value.charAt(i++);
            if (c == '\\') {
                c = i < value.length() ? value.charAt(i++) : 0;
                if (c != '"' && c != '\\') {
                    throw malformed("a backslash may only precede a quote or another backslash");
                }
            } else if (c < 0x20 || c > 0x7E) {
                throw malformed("a key may contain only printable ASCII characters");
            }
            key.append(c);
        }
        if (i >= value.length()) {
            throw malformed("the closing quote is missing");
        }
        // No parameters are defined, and unknown ones must be ignored.
        String rest = value.substring(i + 1).strip();
        if (!rest.isEmpty() && rest.charAt(0) != ';') {
            throw malformed("nothing may follow the closing quote");
        }
        return key.toString();
    }

    private static String bare(String value) {
        for (int i = 0; i < value.length(); i++) {
            char c = value.charAt(i);
            if (c <= 0x20 || c > 0x7E || c == '"' || c == ',' || c == '\\') {
                throw malformed("an unquoted key may contain only printable ASCII characters,"
                        + " but no space, quote, comma or backslash");
            }
        }
        return value;
    }
}
