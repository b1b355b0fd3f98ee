package io.counterset.app;

import io.micronaut.http.HttpRequest;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;

/**
 * Reads the counter's name from the last segment of a path. The framework's own decoding makes a plus sign a space and malformed
 * UTF-8 a replacement character, and so would count into a counter that nobody named.
 */
final class CounterName {

    /** The template of that segment: any characters but a slash, which a name has encoded as {@code %2F}. */
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
            if (encoded[i] < 0) { // the framework has taken it for Latin-1, which it need not be
                throw malformed("a path is ASCII; other characters are percent-encoded, as UTF-8");
            }
            if (encoded[i] != '%') {
                decoded.put(encoded[i]);
                continue;
            }
            int high = i + 2 < encoded.length ? Character.digit(encoded[i + 1], 16) : -1;
            int low = i + 2 < encoded.length ? Character.digit(encoded[i + 2], 16) : -1;
            if (high < 0 || low < 0) {
                throw malformed("a percent sign in a path is followed by two hexadecimal digits");
            }
            decoded.put((byte) (high << 4 | low));
            i += 2;
        }
        try {
            return StandardCharsets.UTF_8.newDecoder().decode(decoded.flip()).toString();
        } catch (CharacterCodingException e) {
            throw malformed("a counter's name is UTF-8, and this one is not");
        }
    }

    /**
     * Refuses a path that ends where a name should be: it leads to the main counter, which may not be what was meant.
     *
     * @throws Problem.Refusal if it does
     */
    static void refuseEmpty(HttpRequest<?> request) {
        if (request.getPath().endsWith("/")) {
            throw malformed("the counter's name is empty; the main counter's path has no slash at its end");
        }
    }

    private static Problem.Refusal malformed(String detail) {
        return new Problem.Refusal(Problem.Type.BAD_COUNTER_NAME, detail);
    }
}
