package io.counterset;

import java.nio.charset.StandardCharsets;
import java.util.Locale;
import java.util.Objects;

/** What a counter's name or an idempotency key may be: some bytes of UTF-8, no control characters. */
final class Names {

    private Names() {}

    /** Returns the length in UTF-8, or -1 if the text is empty, longer than {@code most}, or has a forbidden character. */
    static int utf8Length(String text, int most) {
        int length = 0;
        for (int i = 0; i < text.length() && length <= most; i++) {
            char c = text.charAt(i);
            if (Character.isISOControl(c)) {
                return -1;
            } else if (c < 0x80) {
                length += 1;
            } else if (c < 0x800) {
                length += 2;
            } else if (!Character.isSurrogate(c)) {
                length += 3;
            } else if (Character.isHighSurrogate(c)
                    && i + 1 < text.length()
                    && Character.isLowSurrogate(text.charAt(i + 1))) {
                length += 4;
                i++;
            } else {
                return -1; // half a character: UTF-8 has no bytes for it
            }
        }
        return length >= 1 && length <= most ? length : -1;
    }

    /** Returns the length in UTF-8 of a valid text. */
    static int require(String what, String text, int most) {
        Objects.requireNonNull(text, what);
        int length = utf8Length(text, most);
        if (length < 0) {
            throw new IllegalArgumentException(String.format(
                    Locale.ROOT,
                    "%s must be 1 to %d bytes of UTF-8 without control characters, but is %s (%d bytes); nothing was added",
                    what,
                    most,
                    printable(text),
                    text.getBytes(StandardCharsets.UTF_8).length));
        }
        return length;
    }

    /** Returns the text in quotes, shortened, with an escape for each character that nobody could see. */
    static String printable(String text) {
        StringBuilder shown = new StringBuilder("\"");
        text.codePoints().limit(40).forEach(c -> {
            if (c == ' ' || !isInvisible(c)) {
                shown.appendCodePoint(c);
            } else {
                shown.append(String.format(Locale.ROOT, "\\u%04x", c));
            }
        });
        return shown.append(text.codePointCount(0, text.length()) > 40 ? "…\"" : "\"")
                .toString();
    }

    /** Whether this is white space of any kind, a byte order mark, or another character without a shape of its own. */
    static boolean isInvisible(int c) {
        return switch (Character.getType(c)) {
            case Character.CONTROL,
                    Character.FORMAT,
                    Character.SURROGATE,
                    Character.PRIVATE_USE,
                    Character.UNASSIGNED,
                    Character.LINE_SEPARATOR,
                    Character.PARAGRAPH_SEPARATOR,
                    Character.SPACE_SEPARATOR -> true;
            default -> false;
        };
    }
}
