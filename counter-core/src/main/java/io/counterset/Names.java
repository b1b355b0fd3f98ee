// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.nio.charset.StandardCharsets;
import java.util.Locale;
import java.util.Objects;

/**
 * Checks and prints counter names and idempotency keys. Both are UTF-8 of a limited length without
 * control characters.
 */
final class Names {

    private Names() {}

    /**
     * Returns the length in bytes of UTF-8, or -1 if the text is empty, is longer than {@code
     * most}, or contains a forbidden character.
     */
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
                return -1; // an unpaired surrogate has no encoding in UTF-8
            }
        }
        return length >= 1 && length <= most ? length : -1;
    }

    /** Returns the length of a valid text in bytes of UTF-8. */
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

    /** Returns the text in quotes, cut to 40 characters, with invisible characters escaped. */
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

    /**
     * Whether this character has no visible glyph of its own: white space, a control or format
     * character (such as a byte order mark), a surrogate, or a private or unassigned code point.
     */
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
