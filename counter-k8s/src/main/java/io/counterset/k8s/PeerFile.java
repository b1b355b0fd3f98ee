package io.counterset.k8s;

import io.micronaut.json.JsonMapper;
import io.micronaut.serde.annotation.Serdeable;
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
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.zip.CRC32C;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The file in which the memory of peers survives a restart. The caller makes sure that one thread at a time writes.
 *
 * <p>The file is written whole to another name, synced, renamed, and the directory synced: a crash leaves the old file or the new
 * one.
 *
 * <pre>{@code
 * counterset-peers 1 CRC32C LENGTH\n      the format's version; checksum and length in bytes of the rest
 * {"peers":[…],"listed":[…]}              the records, as JSON; a reader ignores fields that it does not know
 * }</pre>
 */
final class PeerFile {

    static final String NAME = "counters.peers";
    private static final Pattern HEADER = Pattern.compile("counterset-peers 1 ([0-9a-f]{8}) ([0-9]{1,9})");
    private static final Logger LOG = LoggerFactory.getLogger(PeerFile.class);

    private final Path directory;
    private final JsonMapper json;

    PeerFile(Path directory, JsonMapper json) {
        this.directory = directory;
        this.json = json;
    }

    /**
     * What the file holds.
     *
     * @param peers what is known of each peer
     * @param listed the names that were listed and never answered
     */
    @Serdeable
    record Contents(List<Known> peers, Set<String> listed) {

        /** An empty collection is not written, and so reads as null. */
        Contents {
            peers = peers == null ? List.of() : List.copyOf(peers);
            listed = listed == null ? Set.of() : Set.copyOf(listed);
        }
    }

    Path path() {
        return directory.resolve(NAME);
    }

    void write(Contents contents) throws IOException {
        byte[] body = json.writeValueAsBytes(contents);
        CRC32C checksum = new CRC32C();
        checksum.update(body);
        byte[] header = String.format(Locale.ROOT, "counterset-peers 1 %08x %d%n", checksum.getValue(), body.length)
                .replace(System.lineSeparator(), "\n")
                .getBytes(StandardCharsets.US_ASCII);
        Path fresh = directory.resolve(NAME + ".new");
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

    /** Returns what the file holds; nothing if there is no file. A damaged file is set aside, with a line in the log. */
    Contents read() {
        Contents nothing = new Contents(List.of(), Set.of());
        Path file = path();
        byte[] bytes;
        try {
            Files.deleteIfExists(directory.resolve(NAME + ".new"));
            bytes = Files.readAllBytes(file);
        } catch (NoSuchFileException e) {
            return nothing;
        } catch (IOException e) {
            LOG.warn("{}: cannot be read, nothing is remembered of peers: {}", file, e.toString());
            return nothing;
        }
        String problem;
        try {
            return parse(bytes);
        } catch (IOException | RuntimeException e) {
            problem = e.toString();
        }
        Path aside = directory.resolve(NAME + ".damaged");
        try {
            Files.move(file, aside, StandardCopyOption.REPLACE_EXISTING);
            LOG.warn("{}: {}; set aside as {}, nothing is remembered of peers", file, problem, aside.getFileName());
        } catch (IOException e) {
            LOG.warn("{}: {}; nothing is remembered of peers", file, problem);
        }
        return nothing;
    }

    private Contents parse(byte[] bytes) throws IOException {
        int end = 0;
        while (end < bytes.length && end < 64 && bytes[end] != '\n') {
            end++;
        }
        Matcher header = HEADER.matcher(new String(bytes, 0, end, StandardCharsets.US_ASCII));
        if (!header.matches()) {
            throw new IOException("does not begin with the line 'counterset-peers 1 CHECKSUM LENGTH'");
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
        Contents contents = json.readValue(Arrays.copyOfRange(bytes, end + 1, bytes.length), Contents.class);
        if (contents == null) {
            throw new IOException("holds nothing");
        }
        return contents;
    }
}
