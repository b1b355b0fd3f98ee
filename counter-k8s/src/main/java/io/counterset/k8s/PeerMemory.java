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
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.zip.CRC32C;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What was last seen of every peer: its counts, when, and in which store, with the losses that comparing them brought to light.
 * Thread-safe. Kept in memory, bounded in number, and written now and then to one file in this replica's own directory.
 *
 * <p>The file is written whole to another name, synced, renamed, and the directory synced: a crash leaves the one before or the one
 * after, and costs what was seen in the seconds since. counter-core's own counters could not serve: they only grow, while a
 * peer's count can fall (that is what is looked for), and a count means nothing without the store, the incarnation and the time
 * that belong to it, which must change together.
 *
 * <pre>{@code
 * counterset-peers 1 CRC32C LENGTH\n      the format's version; checksum and length in bytes of what follows
 * {"peers":[…]}                           the records below, as JSON
 * }</pre>
 */
final class PeerMemory {

    static final String FILE = "counters.peers";
    private static final int MOST_STORES = 3;
    private static final Duration TIMES_ALONE = Duration.ofMinutes(1);
    private static final Pattern HEADER = Pattern.compile("counterset-peers 1 ([0-9a-f]{8}) ([0-9]{1,9})");
    private static final Logger LOG = LoggerFactory.getLogger(PeerMemory.class);

    private final Path directory;
    private final JsonMapper json;
    private final String mainCounter;
    private final Duration lossShown;
    private final int mostPeers;
    private final int mostCounts;

    /** Held while the file is written; taken before the lock of this object, never after it. */
    private final Object writing = new Object();

    private final Map<String, Known> peers = new HashMap<>();
    private final Map<String, Long> orders = new HashMap<>();
    private int counts;
    private boolean changed;
    private boolean timesChanged;
    private Instant savedAt = Instant.EPOCH;
    private boolean failing;
    private long saves;
    private long saveFailures;

    /**
     * Reads what is remembered from the directory, if anything is. A file that cannot be understood is set aside and said so;
     * nothing is remembered then.
     *
     * @param mostPeers of how many peers something is remembered; those seen last
     * @param mostCounts how many counts of all of them; those seen last, and the main counter's in any case
     */
    PeerMemory(Path directory, JsonMapper json, String mainCounter, Duration lossShown, int mostPeers, int mostCounts) {
        this.directory = directory;
        this.json = json;
        this.mainCounter = mainCounter;
        this.lossShown = lossShown;
        this.mostPeers = mostPeers;
        this.mostCounts = mostCounts;
        load();
    }

    /** What is kept of a peer; its stores with the one seen last first. */
    @Serdeable
    record Known(String key, String instance, String address, List<Store> stores) {

        Store store() {
            return stores.get(0);
        }
    }

    /** What is kept of a store: since when and until when it was the peer's store, and what was last counted in it. */
    @Serdeable
    record Store(
            UUID id,
            long incarnation,
            Instant since,
            Instant seenAt,
            Map<String, Seen> counts,
            @Nullable Loss loss) {

        /** An empty map is not written, and so reads as none. */
        Store {
            counts = counts == null ? Map.of() : Map.copyOf(counts);
        }

        @Nullable
        Seen seen(String counter) {
            return counts == null ? null : counts.get(counter);
        }
    }

    @Serdeable
    record Seen(long count, Instant at) {}

    /** What a store was found to have lost. */
    @Serdeable
    record Loss(
            Instant foundAt, String counter, long count, long formerCount, long incarnation, long formerIncarnation) {}

    /**
     * Remembers an answer and returns what is now known of that peer. Rounds about different counters overlap, and an answer may
     * wait for the slowest of its round: one that came before the last one remembered is not news, and no sign of a loss.
     *
     * @param at when it came, by the clock
     * @param order when it came, by {@link System#nanoTime}, which never steps back
     */
    synchronized Known observe(String key, String address, Replica.Count answer, Instant at, long order) {
        Known before = peers.get(key);
        Long last = orders.put(key, order);
        if (before != null && last != null && order - last < 0) {
            orders.put(key, last);
            return before;
        }
        List<Store> stores = new ArrayList<>();
        Store store = null;
        if (before != null) {
            for (Store other : before.stores()) {
                if (other.id().equals(answer.store())) {
                    store = other;
                } else if (stores.size() < MOST_STORES - 1) {
                    stores.add(other);
                }
            }
        }
        boolean current = before != null && before.store().id().equals(answer.store());
        Seen seen = store == null ? null : store.seen(answer.counter());
        boolean lower = seen != null && answer.count() < seen.count();
        boolean older = store != null && answer.incarnation() < store.incarnation();
        Loss loss = store == null ? null : store.loss();
        if (lower || older) {
            loss = new Loss(
                    at,
                    answer.counter(),
                    answer.count(),
                    seen == null ? answer.count() : seen.count(),
                    answer.incarnation(),
                    store == null ? answer.incarnation() : store.incarnation());
        }
        say(before, answer, store == null, store == null ? null : store.loss(), loss);
        // A counter that was never added to is not worth a place, but for the main one: anybody may ask for any name.
        Map<String, Seen> remembered = new HashMap<>(store == null ? Map.of() : store.counts());
        if (answer.count() > 0 || seen != null || answer.counter().equals(mainCounter)) {
            remembered.put(answer.counter(), new Seen(answer.count(), at));
        }
        Store now = new Store(
                answer.store(),
                answer.incarnation(),
                store == null || !current ? at : store.since(),
                at,
                remembered,
                loss);
        stores.add(0, now);
        Known after = new Known(key, answer.instance(), address, List.copyOf(stores));
        put(before, after);
        boolean same = before != null
                && current
                && store != null
                && before.address().equals(address)
                && before.instance().equals(answer.instance())
                && store.incarnation() == answer.incarnation()
                && (seen == null ? !remembered.containsKey(answer.counter()) : seen.count() == answer.count());
        changed |= !same;
        timesChanged = true;
        return after;
    }

    /** One line for each loss when it is found: whoever does not look at the report within days would not learn of it. */
    private void say(
            @Nullable Known before,
            Replica.Count answer,
            boolean otherStore,
            @Nullable Loss known,
            @Nullable Loss loss) {
        if (loss != null && known == null) {
            LOG.warn(
                    "{} is rolled back: its store {} counted {} = {} before, and {} now",
                    answer.instance(),
                    answer.store(),
                    loss.counter(),
                    loss.formerCount(),
                    loss.count());
        } else if (before != null && otherStore) {
            Seen former = before.store().seen(answer.counter());
            LOG.warn(
                    "{} is replaced: store {} counted {} = {}, and there is store {} now with {}",
                    answer.instance(),
                    before.store().id(),
                    answer.counter(),
                    former == null ? "unknown" : former.count(),
                    answer.store(),
                    answer.count());
        }
    }

    synchronized @Nullable Known get(String key) {
        return peers.get(key);
    }

    synchronized List<Known> all() {
        return List.copyOf(peers.values());
    }

    synchronized int size() {
        return peers.size();
    }

    synchronized long saves() {
        return saves;
    }

    synchronized long saveFailures() {
        return saveFailures;
    }

    /** Returns what the peer's store has lost, as long as that is to be shown; null if nothing. */
    @Nullable
    Loss loss(Known known, Instant now) {
        Loss loss = known.store().loss();
        return loss != null && loss.foundAt().plus(lossShown).isAfter(now) ? loss : null;
    }

    /** Returns the store that the peer had before the one it has now, as long as that is to be shown; null if none. */
    @Nullable
    Store former(Known known, Instant now) {
        return known.stores().size() > 1
                        && known.store().since().plus(lossShown).isAfter(now)
                ? known.stores().get(1)
                : null;
    }

    private void put(@Nullable Known before, Known after) {
        peers.put(after.key(), after);
        counts += counts(after) - (before == null ? 0 : counts(before));
        if (peers.size() > mostPeers) {
            peers.values().stream()
                    .filter(known -> !known.key().equals(after.key()))
                    .min(Comparator.comparing(known -> known.store().seenAt()))
                    .ifPresent(this::forget);
        }
        if (counts > mostCounts) {
            forgetOldCounts();
        }
    }

    private void forget(Known known) {
        peers.remove(known.key());
        orders.remove(known.key());
        counts -= counts(known);
    }

    /** Drops the oldest tenth of all counts but the main counter's, which are bounded by the number of peers. */
    private void forgetOldCounts() {
        List<Instant> times = new ArrayList<>();
        for (Known known : peers.values()) {
            for (Store store : known.stores()) {
                store.counts().forEach((counter, seen) -> {
                    if (!counter.equals(mainCounter)) {
                        times.add(seen.at());
                    }
                });
            }
        }
        if (times.isEmpty()) {
            return;
        }
        times.sort(Comparator.naturalOrder());
        Instant limit = times.get(Math.min(times.size() - 1, mostCounts / 10));
        counts = 0;
        peers.replaceAll((key, known) -> {
            List<Store> stores = known.stores().stream()
                    .map(store -> {
                        Map<String, Seen> kept = new HashMap<>(store.counts());
                        kept.entrySet()
                                .removeIf(entry -> !entry.getKey().equals(mainCounter)
                                        && !entry.getValue().at().isAfter(limit));
                        return new Store(
                                store.id(), store.incarnation(), store.since(), store.seenAt(), kept, store.loss());
                    })
                    .toList();
            Known less = new Known(known.key(), known.instance(), known.address(), stores);
            counts += counts(less);
            return less;
        });
    }

    private static int counts(Known known) {
        return known.stores().stream().mapToInt(store -> store.counts().size()).sum();
    }

    /**
     * Writes the memory to its file if there is anything new in it. New times alone are written once a minute only. Blocks for a
     * device flush, and for another call that is writing: two at once would write to the same file. A failure is logged once until it
     * succeeds again, and the next call tries again.
     */
    void save(Instant now) {
        synchronized (writing) {
            saveAlone(now);
        }
    }

    private void saveAlone(Instant now) {
        List<Known> known;
        synchronized (this) {
            if (!changed && !(timesChanged && savedAt.plus(TIMES_ALONE).isBefore(now))) {
                return;
            }
            known = all();
            changed = false;
            timesChanged = false;
            savedAt = now;
        }
        try {
            write(known);
            synchronized (this) {
                saves++;
                failing = false;
            }
        } catch (IOException e) {
            synchronized (this) {
                changed = true;
                saveFailures++;
                if (!failing) {
                    LOG.warn(
                            "{}: cannot be written, what is known of peers would not survive a restart: {}",
                            directory.resolve(FILE),
                            e.toString());
                }
                failing = true;
            }
        }
    }

    private void write(List<Known> known) throws IOException {
        byte[] body = json.writeValueAsBytes(new Contents(known));
        CRC32C checksum = new CRC32C();
        checksum.update(body);
        byte[] header = String.format(Locale.ROOT, "counterset-peers 1 %08x %d%n", checksum.getValue(), body.length)
                .replace(System.lineSeparator(), "\n")
                .getBytes(StandardCharsets.US_ASCII);
        Path fresh = directory.resolve(FILE + ".new");
        try (FileChannel channel = FileChannel.open(
                fresh, StandardOpenOption.CREATE, StandardOpenOption.TRUNCATE_EXISTING, StandardOpenOption.WRITE)) {
            for (ByteBuffer part : List.of(ByteBuffer.wrap(header), ByteBuffer.wrap(body))) {
                while (part.hasRemaining()) {
                    channel.write(part);
                }
            }
            channel.force(true);
        }
        Files.move(fresh, directory.resolve(FILE), StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        try (FileChannel names = FileChannel.open(directory, StandardOpenOption.READ)) {
            names.force(true);
        }
    }

    @Serdeable
    record Contents(List<Known> peers) {

        /** An empty list is not written, and so reads as none. */
        Contents {
            peers = peers == null ? List.of() : peers;
        }
    }

    private void load() {
        Path file = directory.resolve(FILE);
        byte[] bytes;
        try {
            Files.deleteIfExists(directory.resolve(FILE + ".new"));
            bytes = Files.readAllBytes(file);
        } catch (NoSuchFileException e) {
            return;
        } catch (IOException e) {
            LOG.warn("{}: cannot be read, nothing is remembered of peers: {}", file, e.toString());
            return;
        }
        String problem;
        try {
            parse(bytes).peers().forEach(known -> put(null, known));
            return;
        } catch (IOException | RuntimeException e) {
            problem = e.toString();
        }
        Path aside = directory.resolve(FILE + ".damaged");
        try {
            Files.move(file, aside, StandardCopyOption.REPLACE_EXISTING);
            LOG.warn("{}: {}; set aside as {}, nothing is remembered of peers", file, problem, aside.getFileName());
        } catch (IOException e) {
            LOG.warn("{}: {}; nothing is remembered of peers", file, problem);
        }
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
