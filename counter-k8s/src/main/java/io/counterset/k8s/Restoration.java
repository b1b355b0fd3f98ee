// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import com.fasterxml.jackson.annotation.JsonValue;
import io.counterset.Counter;
import io.counterset.CounterStoreException;
import io.counterset.StoreIdentity;
import io.micronaut.json.JsonMapper;
import io.micronaut.serde.annotation.Serdeable;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Restores the counts that this replica lost with former volumes and its peers remember, each
 * exactly once. Thread-safe.
 *
 * <p>A file beside the store records, for each lost store and counter, how much has been restored
 * so far. A repeated request, or a peer that remembers less, therefore finds nothing left to
 * restore. The file is created when the store is opened for the first time. If an older store has
 * none, because it was imported or salvaged without the file, what was restored in it is unknown,
 * and nothing is restored unless forced.
 *
 * <p>An amount is recorded as pending before it is added with an idempotency key, and
 * recorded as added once it is durable. After a crash in between, the next start adds it with the
 * same key.
 */
public final class Restoration {

    private static final String NAME = "counters.restored";
    private static final Logger LOG = LoggerFactory.getLogger(Restoration.class);

    private final Replica replica;
    private final CheckedFile<Given> file;

    /**
     * The restored amounts. The list is replaced as a whole, and its sums are published to
     * {@link Replica#count(String)}.
     */
    private List<Amount> amounts = List.of();

    /** Whether more may have been restored in this store than the amounts show. */
    private boolean partial;

    /**
     * The losses of a peer that a replica remembers.
     *
     * @param askedBy the replica that remembers them
     * @param group its group; absent if unknown
     * @param instance the peer
     * @param store the store with which the peer was last seen; absent if it was never seen
     * @param losses the counts of its former volumes, and those lost by a rollback of the present
     *     one
     */
    @Serdeable
    public record Losses(
            String askedBy,
            @Nullable String group,
            String instance,
            @Nullable UUID store,
            List<Loss> losses) {

        /** Accepts null for an empty list, which JSON leaves out. */
        public Losses {
            losses = losses == null ? List.of() : List.copyOf(losses);
        }

        /** Returns one line per loss. Lines end with a line feed. */
        public String toText() {
            StringBuilder text = new StringBuilder();
            losses.forEach(loss -> text.append(Replica.escaped(loss.counter()))
                    .append(' ')
                    .append(loss.lost())
                    .append(" of store ")
                    .append(loss.store())
                    .append('\n'));
            return text.isEmpty() ? "nothing is known to be lost\n" : text.toString();
        }

        boolean isSound() {
            return Replica.isInstanceName(askedBy)
                    && Replica.isInstanceName(instance)
                    && losses.stream().allMatch(loss -> loss.lost() > 0 && loss.highest() >= 0);
        }
    }

    /**
     * A count that was lost.
     *
     * @param store the store in which it was counted: a former one, or the present one if that was
     *     rolled back
     * @param counter the counter
     * @param lost how much of it was lost; a lower bound
     * @param highest the highest count seen in that store
     */
    @Serdeable
    public record Loss(UUID store, String counter, long lost, long highest) {}

    /** The outcome of restoring a loss. */
    @Serdeable
    public enum Outcome {
        /** It was added, and is durable. */
        RESTORED("restored"),
        /** It would be added without {@code dry-run}. */
        WOULD_RESTORE("would-restore"),
        /** All of it was added before. */
        ALREADY_RESTORED("already-restored"),
        /** It was not added; the reason says why. */
        REFUSED("refused");

        private final String word;

        Outcome(String word) {
            this.word = word;
        }

        /** Returns the word used in JSON and text. */
        @JsonValue
        @Override
        public String toString() {
            return word;
        }
    }

    /**
     * One loss and the outcome of restoring it.
     *
     * @param store the store in which it was counted
     * @param counter the counter
     * @param amount how much was added, would be added, or was refused
     * @param count this replica's count of that counter afterwards
     * @param outcome the outcome
     * @param reason why it was refused; absent otherwise
     */
    @Serdeable
    public record Step(
            UUID store,
            String counter,
            long amount,
            long count,
            Outcome outcome,
            @Nullable String reason) {}

    /**
     * What a restoration did, or would do.
     *
     * @param instance the replica whose counts were restored
     * @param dryRun whether this was a dry run, which changes nothing
     * @param steps one for each loss that a peer remembers
     * @param failures the peers that could not be asked, each with the reason
     */
    @Serdeable
    public record Result(String instance, boolean dryRun, List<Step> steps, List<String> failures) {

        /** Accepts null for an empty list, which JSON may leave out. */
        public Result {
            steps = steps == null ? List.of() : List.copyOf(steps);
            failures = failures == null ? List.of() : List.copyOf(failures);
        }

        /** Returns one line per step and per failure. Lines end with a line feed. */
        public String toText() {
            StringBuilder text = new StringBuilder();
            for (Step step : steps) {
                text.append(step.outcome())
                        .append(": ")
                        .append(Replica.escaped(step.counter()))
                        .append(' ')
                        .append(step.amount())
                        .append(" of store ")
                        .append(step.store())
                        .append("; ")
                        .append(instance)
                        .append(step.outcome() == Outcome.WOULD_RESTORE ? " would count " : " counts ")
                        .append(step.count())
                        .append(step.reason() == null ? "" : "; " + step.reason())
                        .append('\n');
            }
            failures.forEach(failure ->
                    text.append("failed: ").append(Replica.escaped(failure)).append('\n'));
            return text.isEmpty()
                    ? "no peer remembers a loss of " + instance + "; nothing to restore\n"
                    : text.toString();
        }
    }

    /**
     * The content of the file.
     *
     * @param store the store to which it applies
     * @param partial whether more may have been restored in that store than the amounts show
     * @param amounts the restored amounts
     */
    @Serdeable
    record Given(UUID store, boolean partial, List<Amount> amounts) {

        Given {
            amounts = amounts == null ? List.of() : List.copyOf(amounts);
        }
    }

    /**
     * A part of one counter of one lost store that was restored at once. Another part follows if a
     * peer remembers more.
     *
     * @param total the total of this part and all earlier ones
     * @param pending how much of this part may not have been added yet; 0 if none
     * @param at when the part was recorded
     * @param count this replica's count right after the part was added; 0 if unknown
     */
    @Serdeable
    record Amount(UUID store, String counter, long total, long pending, Instant at, long count) {

        /** Returns the idempotency key, which is unique to this part and always the same for it. */
        String key() {
            return "restore-"
                    + UUID.nameUUIDFromBytes((store + " " + total + " " + counter).getBytes(StandardCharsets.UTF_8));
        }

        Amount added(long countAfter) {
            return new Amount(store, counter, total, 0, at, countAfter);
        }

        boolean isOf(UUID otherStore, String otherCounter) {
            return store.equals(otherStore) && counter.equals(otherCounter);
        }
    }

    /**
     * Returns the largest loss of each store and counter, since peers may have seen different
     * counts last.
     */
    static List<Loss> largest(List<Losses> answers) {
        Map<String, Loss> largest = new LinkedHashMap<>();
        for (Losses answer : answers) {
            for (Loss loss : answer.losses()) {
                largest.merge(
                        loss.store() + " " + loss.counter(),
                        loss,
                        (one, other) -> new Loss(
                                one.store(),
                                one.counter(),
                                Math.max(one.lost(), other.lost()),
                                Math.max(one.highest(), other.highest())));
            }
        }
        return List.copyOf(largest.values());
    }

    /**
     * Reads what was restored before, and adds what a crash left pending before anything else is
     * counted.
     */
    Restoration(Replica replica, Path directory, JsonMapper json, Instant now) {
        this.replica = replica;
        this.file = new CheckedFile<>(directory, NAME, "counterset-restored 1", Given.class, json);
        StoreIdentity own = replica.store().identity();
        Optional<Given> given = file.read().filter(found -> found.store().equals(own.id()));
        if (given.isPresent()) {
            partial = given.get().partial();
            amounts = given.get().amounts().stream().filter(this::isInStore).toList();
        } else if (own.incarnation() == 1) {
            begin();
        } else {
            partial = true;
        }
        publish();
        for (Amount amount : List.copyOf(amounts)) {
            if (amount.pending() > 0) {
                finish(amount, now);
            }
        }
    }

    /**
     * Returns false if the part was added later than this store was exported: the store would then
     * have counted at least as much as right after the part was added.
     */
    private boolean isInStore(Amount amount) {
        return replica.store().counter(amount.counter()).value() >= amount.count();
    }

    /** Records that nothing has been restored in a new store. */
    private void begin() {
        try {
            write(amounts);
        } catch (IOException e) {
            LOG.warn("{}: cannot be written: {}", file.path(), e.toString());
        }
    }

    private void finish(Amount amount, Instant now) {
        try {
            if (amount.at().plus(replica.store().idempotencyWindow().maxAge()).isAfter(now)) {
                add(amount);
            } else {
                LOG.warn(
                        "{} = {} of store {} may or may not have been restored before a crash; not added again",
                        amount.counter(),
                        amount.pending(),
                        amount.store());
                put(amount.added(0));
            }
        } catch (IOException | RuntimeException e) {
            LOG.warn("{} of store {} could not be restored", amount.counter(), amount.store(), e);
        }
    }

    /**
     * Restores the losses that were not restored before. Blocks for one commit per loss.
     *
     * @param force whether to restore even if this replica has already counted as much as the lost
     *     store did, or if what was restored before is unknown
     */
    synchronized List<Step> restore(List<Loss> losses, boolean dryRun, boolean force, Instant now) {
        List<Step> steps = new ArrayList<>();
        for (Loss loss : losses) {
            Counter counter = replica.store().counter(loss.counter());
            Amount before = lastOf(loss);
            long given = before == null ? 0 : before.total();
            long missing = loss.lost() - given;
            long own = counter.value() - restored().getOrDefault(loss.counter(), 0L);
            Outcome outcome = Outcome.RESTORED;
            String reason = null;
            if (missing <= 0) {
                outcome = Outcome.ALREADY_RESTORED;
                missing = given;
            } else if (before != null && before.pending() > 0) {
                outcome = Outcome.REFUSED;
                reason = "an earlier part may or may not have been added; restart this replica, then try again";
            } else if (before == null && partial && !force) {
                outcome = Outcome.REFUSED;
                reason = "it may have been restored before, since the record of that is missing; put "
                        + file.path().getFileName() + " back and restart this replica; if it was not, force adds it";
            } else if (own >= loss.highest() && !force) {
                outcome = Outcome.REFUSED;
                reason = "this replica counted " + own + " itself, and " + loss.highest()
                        + " had been counted in the lost store; force adds it anyway";
            } else if (dryRun) {
                outcome = Outcome.WOULD_RESTORE;
            } else {
                reason = tryToAdd(new Amount(loss.store(), loss.counter(), loss.lost(), missing, now, 0));
                outcome = reason == null ? Outcome.RESTORED : Outcome.REFUSED;
            }
            long count = counter.value() + (outcome == Outcome.WOULD_RESTORE ? missing : 0);
            steps.add(new Step(loss.store(), loss.counter(), missing, count, outcome, reason));
        }
        return steps;
    }

    /** Adds the amount and returns null, or returns why it was not, or may not have been, added. */
    private @Nullable String tryToAdd(Amount amount) {
        try {
            add(amount);
            return null;
        } catch (CounterStoreException.OutcomeUnknownException e) {
            return e.getMessage() + "; the next start of this replica adds it if it is not there";
        } catch (IOException | CounterStoreException e) {
            try {
                remove(amount);
            } catch (IOException again) {
                e.addSuppressed(again); // stays pending
            }
            return String.valueOf(e.getMessage());
        }
    }

    /**
     * The order matters: recorded as pending, published as restored, added, recorded as added. A
     * peer then never sees the added count without its restored part, and after a crash at any
     * point the same add is repeated with the same key.
     */
    private void add(Amount amount) throws IOException {
        put(amount);
        long count = replica.store()
                .counter(amount.counter())
                .addOnce(amount.pending(), amount.key())
                .total();
        replica.store().flush();
        put(amount.added(count));
        LOG.info("restored {} = {} that was counted in store {}", amount.counter(), amount.pending(), amount.store());
    }

    private void put(Amount amount) throws IOException {
        List<Amount> all = without(amount);
        all.add(amount);
        replace(all);
    }

    private void remove(Amount amount) throws IOException {
        replace(without(amount));
    }

    private List<Amount> without(Amount part) {
        List<Amount> others = new ArrayList<>(amounts);
        others.removeIf(other -> other.isOf(part.store(), part.counter()) && other.total() == part.total());
        return others;
    }

    private void replace(List<Amount> all) throws IOException {
        write(all);
        amounts = all;
        publish();
    }

    private void write(List<Amount> content) throws IOException {
        file.write(new Given(replica.store().identity().id(), partial, content));
    }

    /** Returns the last part that was restored of that loss; null if none. */
    private @Nullable Amount lastOf(Loss loss) {
        return amounts.stream()
                .filter(amount -> amount.isOf(loss.store(), loss.counter()))
                .max(Comparator.comparingLong(Amount::total))
                .orElse(null);
    }

    private Map<String, Long> restored() {
        Map<String, Map<UUID, Long>> totals = new HashMap<>();
        amounts.forEach(amount -> totals.computeIfAbsent(amount.counter(), unused -> new HashMap<>())
                .merge(amount.store(), amount.total(), Math::max));
        Map<String, Long> restored = new HashMap<>();
        totals.forEach((counter, stores) -> restored.put(
                counter, stores.values().stream().mapToLong(Long::longValue).sum()));
        return restored;
    }

    private void publish() {
        replica.restored(Map.copyOf(restored()));
    }
}
