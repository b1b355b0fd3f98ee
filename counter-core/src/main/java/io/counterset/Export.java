// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.UUID;
import org.jspecify.annotations.Nullable;

/**
 * Writes and reads a store as lines of JSON, one flat object each, for other releases and other
 * programs. The first line has the version of this format and the identity of the store. Then
 * follow all counters, and all idempotency keys in the order in which their adds were applied. The
 * last line has the numbers of both, so a truncated file is detected. A release reads its own
 * version and all earlier ones.
 *
 * <pre>
 * {"counterset":1,"store":"6f0c…","incarnation":4,"sequence":1234}
 * {"counter":"visits","total":42}
 * {"key":"order-7","counter":"visits","amount":1,"total":41,"appliedAt":1764000000000}
 * {"counters":1,"keys":1}
 * </pre>
 */
final class Export {

    /** The content of an export. */
    record Content(StoreIdentity identity, long sequence, List<Counter> counters, List<RememberedKeys.Entry> keys) {}

    /** A line that cannot be imported. */
    static final class FormatException extends IOException {
        private static final long serialVersionUID = 1L;

        FormatException(long line, String message) {
            super("line " + line + ": " + message);
        }
    }

    private static final int VERSION = 1;

    private Export() {}

    static void write(StoreInspection store, PrintWriter out) {
        StoreIdentity identity = store.contents.identity();
        List<RememberedKeys.Entry> keys = store.contents.keys().list();
        out.printf(
                Locale.ROOT,
                "{\"counterset\":%d,\"store\":\"%s\",\"incarnation\":%d,\"sequence\":%d}\n",
                VERSION,
                identity.id(),
                identity.incarnation(),
                store.sequence());
        store.counters()
                .forEach((name, total) -> out.print("{\"counter\":" + quoted(name) + ",\"total\":" + total + "}\n"));
        for (RememberedKeys.Entry key : keys) {
            out.print("{\"key\":" + quoted(key.key()) + ",\"counter\":" + quoted(key.cell().name) + ",\"amount\":"
                    + key.amount() + ",\"total\":" + key.total() + ",\"appliedAt\":" + key.appliedAt() + "}\n");
        }
        out.print("{\"counters\":" + store.counters().size() + ",\"keys\":" + keys.size() + "}\n");
        out.flush();
    }

    /** Returns the text as a JSON string. */
    static String quoted(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '"' || c == '\\') {
                quoted.append('\\').append(c);
            } else if (c != ' ' && !Character.isSurrogate(c) && Names.isInvisible(c)) {
                quoted.append(String.format(Locale.ROOT, "\\u%04x", (int) c));
            } else {
                quoted.append(c);
            }
        }
        return quoted.append('"').toString();
    }

    /**
     * Reads the output of {@link #write}.
     *
     * @throws FormatException if the input is not such output, or is truncated
     */
    static Content read(BufferedReader in) throws IOException {
        Lines lines = new Lines(in);
        Map<String, Object> first = lines.next();
        long version = first.get("counterset") instanceof Long number ? number : -1;
        if (version > VERSION) {
            throw lines.refusal("this export has version " + version
                    + ", written by a later release; this release reads versions up to " + VERSION
                    + "; import it with that release or a later one; nothing was written");
        }
        if (version < 1) {
            throw lines.refusal("expected the first line of an export, which begins with {\"counterset\":" + VERSION);
        }
        StoreIdentity identity;
        try {
            identity = new StoreIdentity(
                    UUID.fromString(lines.text(first, "store")), lines.number(first, "incarnation", 0));
        } catch (IllegalArgumentException e) {
            throw lines.refusal("expected a UUID for \"store\"");
        }
        long sequence = lines.number(first, "sequence", 0);
        Map<String, Counter> counters = new LinkedHashMap<>();
        Map<String, RememberedKeys.Entry> keys = new LinkedHashMap<>();
        while (true) {
            Map<String, Object> line = lines.next();
            if (line.containsKey("key")) {
                RememberedKeys.Entry key = key(lines, line, counters);
                if (keys.put(key.key(), key) != null) {
                    throw lines.refusal("the key " + Names.printable(key.key()) + " is listed twice");
                }
            } else if (line.containsKey("counter")) {
                String name = lines.text(line, "counter");
                int length = lines.length("counter", name, Batch.MAX_NAME);
                if (counters.put(name, new Counter(name, length, lines.number(line, "total", 1))) != null) {
                    throw lines.refusal("the counter " + Names.printable(name) + " is listed twice");
                }
            } else {
                long expectedCounters = lines.number(line, "counters", 0);
                long expectedKeys = lines.number(line, "keys", 0);
                if (expectedCounters != counters.size() || expectedKeys != keys.size()) {
                    throw lines.refusal("expected " + expectedCounters + " counters and " + expectedKeys
                            + " keys before this line, found " + counters.size() + " and " + keys.size());
                }
                lines.requireEnd();
                return new Content(
                        identity, sequence, new ArrayList<>(counters.values()), new ArrayList<>(keys.values()));
            }
        }
    }

    private static RememberedKeys.Entry key(Lines lines, Map<String, Object> line, Map<String, Counter> counters)
            throws IOException {
        String key = lines.text(line, "key");
        Counter counter = counters.get(lines.text(line, "counter"));
        if (counter == null) {
            throw lines.refusal("expected a counter from an earlier line");
        }
        long amount = lines.number(line, "amount", 1);
        long total = lines.number(line, "total", amount);
        if (total > counter.durable()) {
            throw lines.refusal("expected a total of at most " + counter.durable() + ", the total of the counter");
        }
        return new RememberedKeys.Entry(
                key,
                lines.length("key", key, Batch.MAX_KEY),
                counter,
                amount,
                total,
                lines.number(line, "appliedAt", Long.MIN_VALUE));
    }

    /** Reads lines, each of which is a flat JSON object of strings and whole numbers. */
    private static final class Lines {
        private final BufferedReader in;
        private long number;
        private String text = "";
        private int at;

        Lines(BufferedReader in) {
            this.in = in;
        }

        FormatException refusal(String message) {
            return new FormatException(number, message);
        }

        Map<String, Object> next() throws IOException {
            number++;
            @Nullable String line = in.readLine();
            if (line == null) {
                throw refusal("the input ends before the last line of an export; it is truncated");
            }
            text = line;
            at = 0;
            Map<String, Object> object = new HashMap<>();
            expect('{');
            do {
                String field = string();
                expect(':');
                object.put(field, peek() == '"' ? string() : integer());
            } while (accept(','));
            expect('}');
            if (peek() != 0) {
                throw refusal("expected the end of the line at column " + (at + 1));
            }
            return object;
        }

        void requireEnd() throws IOException {
            number++;
            if (in.readLine() != null) {
                throw refusal("expected the end of the input after the last line of an export");
            }
        }

        String text(Map<String, Object> line, String field) throws FormatException {
            if (line.get(field) instanceof String string) {
                return string;
            }
            throw refusal("expected a string for \"" + field + "\"");
        }

        long number(Map<String, Object> line, String field, long least) throws FormatException {
            if (line.get(field) instanceof Long value && value >= least) {
                return value;
            }
            throw refusal("expected a whole number of " + least + " or more for \"" + field + "\"");
        }

        int length(String field, String value, int most) throws FormatException {
            int length = Names.utf8Length(value, most);
            if (length < 0) {
                throw refusal("expected 1 to " + most + " bytes of UTF-8 without control characters for \"" + field
                        + "\", found " + Names.printable(value));
            }
            return length;
        }

        private char peek() {
            while (at < text.length() && (text.charAt(at) == ' ' || text.charAt(at) == '\t')) {
                at++;
            }
            return at < text.length() ? text.charAt(at) : 0;
        }

        private boolean accept(char c) {
            boolean there = peek() == c;
            at += there ? 1 : 0;
            return there;
        }

        private void expect(char c) throws FormatException {
            if (!accept(c)) {
                throw refusal("expected " + c + " at column " + (at + 1));
            }
        }

        private Long integer() throws FormatException {
            peek();
            int start = at;
            while (at < text.length() && (Character.isDigit(text.charAt(at)) || text.charAt(at) == '-')) {
                at++;
            }
            try {
                return Long.valueOf(text.substring(start, at));
            } catch (NumberFormatException e) {
                throw refusal("expected a whole number at column " + (start + 1));
            }
        }

        private String string() throws FormatException {
            expect('"');
            StringBuilder value = new StringBuilder();
            while (at < text.length() && text.charAt(at) != '"') {
                char c = text.charAt(at++);
                if (c == '\\' && at < text.length()) {
                    c = escaped(text.charAt(at++));
                }
                value.append(c);
            }
            if (at == text.length()) {
                throw refusal("expected a closing quote at the end of the line");
            }
            at++;
            return value.toString();
        }

        private char escaped(char c) throws FormatException {
            return switch (c) {
                case '"', '\\', '/' -> c;
                case 'b' -> '\b';
                case 'f' -> '\f';
                case 'n' -> '\n';
                case 'r' -> '\r';
                case 't' -> '\t';
                case 'u' -> unicode();
                default -> throw refusal("unknown escape \\" + c);
            };
        }

        private char unicode() throws FormatException {
            try {
                int end = at + 4;
                char c = (char) Integer.parseInt(text.substring(at, end), 16);
                at = end;
                return c;
            } catch (IndexOutOfBoundsException | NumberFormatException e) {
                throw refusal("expected four hexadecimal digits at column " + (at + 1));
            }
        }
    }
}
