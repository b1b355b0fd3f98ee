// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import jakarta.annotation.PreDestroy;
import jakarta.inject.Singleton;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Follows files that may be replaced while the process runs, such as those of a mounted Kubernetes
 * Secret. Each file is read when it is first followed, and once a second its content is compared
 * with the last one: Kubernetes replaces a Secret by switching a symbolic link, which the JDK's
 * watch service does not report. If a file becomes unusable, one warning is logged and its previous
 * content stays in use.
 *
 * <p>Thread-safe. Only the first read blocks its caller. The application context closes it.
 */
@Singleton
public final class MountedFiles implements AutoCloseable {

    private static final int MOST_BYTES = 1 << 20;
    private static final int MOST_TOKENS = 100;

    /** The characters that RFC 6750 allows in a header, and a length that cannot be guessed. */
    private static final Pattern TOKEN = Pattern.compile("[A-Za-z0-9._~+/-]{16,256}=*");

    private static final String TOKENS = "a file with 1 to " + MOST_TOKENS
            + " tokens, one a line, each of 16 to 256 characters out of A-Z a-z 0-9 - . _ ~ + /";

    private static final Logger LOG = LoggerFactory.getLogger(MountedFiles.class);

    private final Settings settings;
    private final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor(task -> {
        Thread made = new Thread(task, "counterset-files");
        made.setDaemon(true);
        return made;
    });

    MountedFiles(Settings settings) {
        this.settings = settings;
    }

    /** Converts the content of files to a value. */
    public interface Content<T> {

        /**
         * Returns the value.
         *
         * @param files the content of each file, in the order of the settings that name them
         * @throws IllegalArgumentException if a file cannot be used; the message names its setting
         *     and what is expected
         */
        T read(List<byte[]> files);
    }

    /**
     * Returns a supplier of the files' current value. The supplier never fails and does not block.
     *
     * @param names the settings that name the files, all of which are set
     * @throws IllegalArgumentException if a file is missing, unreadable or rejected by
     *     {@code content}
     */
    public <T> Supplier<T> follow(Content<T> content, String... names) {
        Followed<T> followed = new Followed<>(content, names);
        ScheduledFuture<?> unused = timer.scheduleWithFixedDelay(followed::check, 1, 1, TimeUnit.SECONDS);
        return followed;
    }

    /**
     * Returns a supplier of the tokens in the file that a setting names: at least one, in the order
     * of the file's lines, in ASCII. Empty if the setting is absent.
     *
     * @throws IllegalArgumentException if the file is missing, unreadable or contains anything but
     *     tokens
     */
    public Optional<Supplier<List<byte[]>>> tokens(String name) {
        return settings.text(name)
                .map(path -> follow(
                        files -> {
                            List<String> tokens = new String(files.get(0), StandardCharsets.ISO_8859_1)
                                    .lines()
                                    .map(String::strip)
                                    .filter(line -> !line.isEmpty())
                                    .toList();
                            if (tokens.isEmpty()
                                    || tokens.size() > MOST_TOKENS
                                    || !tokens.stream()
                                            .allMatch(token ->
                                                    TOKEN.matcher(token).matches())) {
                                throw Settings.invalid(name, path, TOKENS);
                            }
                            return tokens.stream()
                                    .map(token -> token.getBytes(StandardCharsets.US_ASCII))
                                    .toList();
                        },
                        name));
    }

    @Override
    @PreDestroy
    public void close() {
        timer.shutdownNow();
    }

    private final class Followed<T> implements Supplier<T> {

        private final Content<T> content;
        private final String[] names;
        private List<byte[]> bytes; // this field and the next are used only by the timer after the first read
        private int failures;
        private volatile T value;

        Followed(Content<T> content, String... names) {
            this.content = content;
            this.names = names;
            this.bytes = read(names);
            this.value = content.read(bytes);
        }

        @Override
        public T get() {
            return value;
        }

        void check() {
            try {
                List<byte[]> now = read(names);
                boolean changed = !isSame(now, bytes);
                if (changed) {
                    value = content.read(now);
                    bytes = now;
                }
                if (changed || failures > 1) {
                    LOG.info("reloaded: {}", String.join(", ", names));
                }
                failures = 0;
            } catch (RuntimeException e) {
                // Files that belong together are replaced one after the other, so a single failure
                // may be transient.
                if (++failures == 2) {
                    LOG.warn("{}; the previous content stays in use", e.getMessage());
                }
            }
        }
    }

    private List<byte[]> read(String... names) {
        List<byte[]> contents = new ArrayList<>();
        for (String name : names) {
            Path path =
                    settings.file(name).orElseThrow(() -> Settings.invalid(name, "", "the path of a readable file"));
            byte[] content = read(path);
            if (content == null) {
                throw Settings.invalid(name, path.toString(), "the path of a readable file of at most 1 MiB");
            }
            contents.add(content);
        }
        return contents;
    }

    private static byte @Nullable [] read(Path path) {
        try (InputStream in = Files.newInputStream(path)) {
            byte[] content = in.readNBytes(MOST_BYTES + 1);
            return content.length > MOST_BYTES ? null : content;
        } catch (IOException e) {
            return null;
        }
    }

    private static boolean isSame(List<byte[]> a, List<byte[]> b) {
        for (int i = 0; i < a.size(); i++) {
            if (!Arrays.equals(a.get(i), b.get(i))) {
                return false;
            }
        }
        return true;
    }
}
