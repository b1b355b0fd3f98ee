// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import io.micronaut.json.JsonMapper;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.zip.CRC32C;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A small JSON file that a crash never leaves half written: the memory of peers, or the restored
 * amounts. The caller ensures that only one thread writes at a time.
 *
 * <p>The content is written to a new file and synced; that file is renamed, and the directory is
 * synced. After a crash either the old file or the new one exists.
 *
 * <pre>{@code
 * FORMAT CRC32C LENGTH\n      the format and its version; checksum and length in bytes of the rest
 * {…}                         the content, as JSON; readers ignore unknown fields
 * }</pre>
 */
final class CheckedFile<T> {

    private static final Pattern SUMS = Pattern.compile("([0-9a-f]{8}) ([0-9]{1,9})");
    private static final Logger LOG = LoggerFactory.getLogger(CheckedFile.class);

    private final Path directory;
    private final String name;
    private final String format;
    private final Class<T> type;
    private final JsonMapper json;

    /**
     * @param name the file's name
     * @param format the prefix of its first line
     */
    CheckedFile(Path directory, String name, String format, Class<T> type, JsonMapper json) {
        this.directory = directory;
        this.name = name;
        this.format = format;
        this.type = type;
        this.json = json;
    }

    Path path() {
        return directory.resolve(name);
    }

    /** Creates the directory if it does not exist. If it cannot be created, every write fails. */
    void createDirectory() {
        try {
            if (!Files.isDirectory(directory)) { // JDK 17 would refuse a link to a directory
                Files.createDirectories(directory);
            }
        } catch (IOException e) {
            LOG.warn("{}: cannot be created: {}", directory, e.toString());
        }
    }

    void write(T contents) throws IOException {
        byte[] body = json.writeValueAsBytes(contents);
        CRC32C checksum = new CRC32C();
        checksum.update(body);
        byte[] header = String.format(Locale.ROOT, "%s %08x %d\n", format, checksum.getValue(), body.length)
                .getBytes(StandardCharsets.US_ASCII);
        Path fresh = directory.resolve(name + ".new");
        try (FileChannel channel = FileChannel.open(
                fresh, StandardOpenOption.CREATE, StandardOpenOption.TRUNCATE_EXISTING, StandardOpenOption.WRITE)) {
            for (ByteBuffer part : List.of(ByteBuffer.wrap(header), ByteBuffer.wrap(body))) {
                while (part.hasRemaining()) {
                    channel.write(part);
                }
            }
            channel.force(true);
        }
        Files.move(fresh, path(), StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        try (FileChannel names = FileChannel.open(directory, StandardOpenOption.READ)) {
            names.force(true);
        }
    }

    /**
     * Returns the content of the file; empty if there is no file. A damaged file is renamed to
     * {@code NAME.damaged} and logged.
     */
    Optional<T> read() {
        Path file = path();
        byte[] bytes;
        try {
            Files.deleteIfExists(directory.resolve(name + ".new"));
            bytes = Files.readAllBytes(file);
        } catch (NoSuchFileException e) {
            return Optional.empty();
        } catch (IOException e) {
            LOG.warn("{}: cannot be read, and is ignored: {}", file, e.toString());
            return Optional.empty();
        }
        String problem;
        try {
            return Optional.of(parse(bytes));
        } catch (IOException | RuntimeException e) {
            problem = e.toString();
        }
        Path aside = directory.resolve(name + ".damaged");
        try {
            Files.move(file, aside, StandardCopyOption.REPLACE_EXISTING);
            LOG.warn("{}: {}; set aside as {}", file, problem, aside.getFileName());
        } catch (IOException e) {
            LOG.warn("{}: {}; ignored", file, problem);
        }
        return Optional.empty();
    }

    private T parse(byte[] bytes) throws IOException {
        int end = 0;
        while (end < bytes.length && end < 64 && bytes[end] != '\n') {
            end++;
        }
        String line = new String(bytes, 0, end, StandardCharsets.US_ASCII);
        Matcher header = SUMS.matcher(line.startsWith(format + " ") ? line.substring(format.length() + 1) : "");
        if (!header.matches()) {
            throw new IOException("does not begin with the line '" + format + " CHECKSUM LENGTH'");
        }
        int length = bytes.length - end - 1;
        if (length != Integer.parseInt(header.group(2))) {
            throw new IOException("holds " + length + " bytes after its first line, which says " + header.group(2));
        }
        CRC32C checksum = new CRC32C();
        checksum.update(bytes, end + 1, length);
        if (checksum.getValue() != Long.parseLong(header.group(1), 16)) {
            throw new IOException("fails its checksum");
        }
        T contents = json.readValue(Arrays.copyOfRange(bytes, end + 1, bytes.length), type);
        if (contents == null) {
            throw new IOException("holds nothing");
        }
        return contents;
    }
}
