// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;

/** The machine of the measurement, as far as the operating system describes it. */
final class Machine {

    /** Writes and bytes that a device has completed since it started. */
    record Writes(long requests, long bytes) {}

    private static final int SECTOR = 512; // of the kernel's statistics, regardless of the device's own sector size

    private final Path directory;
    private final Optional<Path> device;

    Machine(Path directory) throws IOException {
        this.directory = directory;
        this.device = device(directory);
    }

    private static Optional<Path> device(Path directory) throws IOException {
        try {
            long number = ((Number) Files.getAttribute(directory, "unix:dev")).longValue();
            long major = (number >> 8) & 0xfff;
            long minor = (number & 0xff) | ((number >> 12) & 0xfff00);
            Path sys = Path.of("/sys/dev/block/" + major + ":" + minor);
            return Files.isReadable(sys.resolve("stat")) ? Optional.of(sys.toRealPath()) : Optional.empty();
        } catch (UnsupportedOperationException | IllegalArgumentException e) {
            return Optional.empty();
        }
    }

    /**
     * Returns the device's writes so far; empty if the kernel does not report them, as for a
     * network file system.
     */
    Optional<Writes> writes() throws IOException {
        if (device.isEmpty()) {
            return Optional.empty();
        }
        String[] fields = Files.readString(device.get().resolve("stat")).trim().split("\\s+", -1);
        return Optional.of(new Writes(Long.parseLong(fields[4]), Long.parseLong(fields[6]) * SECTOR));
    }

    /** Returns one line each for processor, memory, device, file system, kernel and JVM. */
    List<String> facts() throws IOException {
        List<String> facts = new ArrayList<>();
        facts.add("Processor: " + field("/proc/cpuinfo", "model name").orElse(System.getProperty("os.arch")) + ", "
                + Runtime.getRuntime().availableProcessors() + " cores");
        facts.add("Memory: " + field("/proc/meminfo", "MemTotal").orElse("unknown"));
        facts.add("Device: " + device.map(d -> d.getFileName() + attributes(d)).orElse("unknown"));
        facts.add("File system: " + Files.getFileStore(directory).type());
        facts.add("Kernel: " + System.getProperty("os.name") + " " + System.getProperty("os.version"));
        facts.add("JVM: " + System.getProperty("java.vm.name") + " " + System.getProperty("java.runtime.version"));
        return facts;
    }

    private static Optional<String> field(String file, String name) throws IOException {
        Path path = Path.of(file);
        if (!Files.isReadable(path)) {
            return Optional.empty();
        }
        try (Stream<String> lines = Files.lines(path)) {
            return lines.filter(line -> line.startsWith(name))
                    .map(line -> line.substring(line.indexOf(':') + 1).trim())
                    .findFirst();
        }
    }

    private static String attributes(Path device) {
        StringBuilder text = new StringBuilder();
        for (String attribute : List.of("rotational", "write_cache", "fua", "scheduler")) {
            // A partition has no such attributes; those of its disk apply.
            for (Path holder : List.of(device, device.resolveSibling(""))) {
                Path file = holder.resolve("queue").resolve(attribute);
                if (Files.isReadable(file)) {
                    text.append(", ").append(attribute).append(' ').append(read(file));
                    break;
                }
            }
        }
        return text.toString();
    }

    private static String read(Path file) {
        try {
            String text = Files.readString(file).trim();
            return text.replaceAll(".*\\[(.*)\\].*", "$1"); // the selected one of several values
        } catch (IOException e) {
            return "unreadable";
        }
    }
}
