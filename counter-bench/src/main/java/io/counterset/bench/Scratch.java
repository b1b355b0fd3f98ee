// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;

/**
 * An empty directory for one measurement. Closing it deletes it with its content.
 *
 * @param path the directory
 */
record Scratch(Path path) implements AutoCloseable {

    static Scratch in(Path parent) throws IOException {
        return new Scratch(Files.createTempDirectory(parent, "counter-bench-"));
    }

    @Override
    public void close() throws IOException {
        List<Path> deepestFirst;
        try (Stream<Path> all = Files.walk(path)) {
            deepestFirst = all.sorted(Comparator.reverseOrder()).toList();
        }
        for (Path file : deepestFirst) {
            Files.delete(file);
        }
    }
}
