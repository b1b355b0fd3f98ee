// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.micronaut.http.HttpRequest;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;

/**
 * Reads the counter's name from the last segment of a path. The framework's own decoding turns a
 * plus sign into a space and malformed UTF-8 into a replacement character, and would so add to a
 * counter that the client did not name.
 */
final class CounterName {

    /**
     * The template of that segment: any characters except a slash, which a name encodes as
     * {@code %2F}.
     */
    static final String SEGMENT = "{name:[^/]+}";

    private CounterName() {}

    /**
     * Returns the name.
     *
     * @throws Problem.Refusal if it is not percent-encoded UTF-8
     */
    static String of(HttpRequest<?> request) {
        String path = request.getPath();
        int end = path.endsWith("/") ? path.length() - 1 : path.length();
        byte[] encoded = path.substring(path.lastIndexOf('/', end - 1) + 1, end).getBytes(StandardCharsets.UTF_8);
        ByteBuffer decoded = ByteBuffer.allocate(encoded.length);
        for (int i = 0; i < encoded.length; i++) {
            if (encoded[i] < 0) { // the framework assumed Latin-1, which may be wrong
                throw malformed("a path must be ASCII; percent-encode other characters as UTF-8");
            }
            if (encoded[i] != '%') {
                decoded.put(encoded[i]);
                continue;
            }
            int high = i + 2 < encoded.length ? Character.digit(encoded[i + 1], 16) : -1;
            int low = i + 2 < encoded.length ? Character.digit(encoded[i + 2], 16) : -1;
            if (high < 0 || low < 0) {
                throw malformed("a percent sign in a path must be followed by two hexadecimal digits");
            }
            decoded.put((byte) (high << 4 | low));
            i += 2;
        }
        try {
            return StandardCharsets.UTF_8.newDecoder().decode(decoded.flip()).toString();
        } catch (CharacterCodingException e) {
            throw malformed("the counter's name is not valid UTF-8");
        }
    }

    /**
     * Refuses a path with an empty name. It would be routed to the main counter, which may not be
     * meant.
     *
     * @throws Problem.Refusal if the path ends with a slash
     */
    static void refuseEmpty(HttpRequest<?> request) {
        if (request.getPath().endsWith("/")) {
            throw malformed("the counter's name is empty; the main counter's path does not end with a slash");
        }
    }

    private static Problem.Refusal malformed(String detail) {
        return new Problem.Refusal(Problem.Type.BAD_COUNTER_NAME, detail);
    }
}
