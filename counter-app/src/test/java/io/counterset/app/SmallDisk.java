// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.OutputStream;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;

/** An in-memory file system of 96 MiB that a test can fill, and one that it can stop. */
final class SmallDisk {

    private SmallDisk() {}

    /** Mounts a file system at that empty folder; returns whether this user may do so. */
    static boolean mount(Path folder) throws Exception {
        return run("mount", "-t", "tmpfs", "-o", "size=96m", "counterset-test", folder.toString());
    }

    /**
     * Mounts a file system on a device of 64 MiB at that empty folder, which {@link #freeze} can
     * stop; returns whether this user may do so.
     */
    static boolean mountDevice(Path image, Path folder) throws Exception {
        try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
            file.setLength(64 << 20);
        }
        return run("mkfs.ext4", "-q", image.toString())
                && run("mount", "-o", "loop", image.toString(), folder.toString());
    }

    /** Lets every write to that file system wait until {@link #thaw}. */
    static void freeze(Path folder) throws Exception {
        assertThat(run("fsfreeze", "--freeze", folder.toString())).isTrue();
    }

    static void thaw(Path folder) throws Exception {
        assertThat(run("fsfreeze", "--unfreeze", folder.toString())).isTrue();
    }

    static void unmount(Path folder) throws Exception {
        assertThat(run("umount", "--lazy", folder.toString())).isTrue();
    }

    /** Writes that file until no space is left. */
    static void fill(Path filler) throws IOException {
        byte[] block = new byte[4096];
        try (OutputStream out = Files.newOutputStream(filler)) {
            while (true) {
                out.write(block);
            }
        } catch (IOException full) {
            assertThat(full).hasMessageContaining("No space left");
        }
    }

    /**
     * Runs a command for at most two minutes, since the machine may be busy; returns whether it
     * exists and succeeded.
     */
    static boolean run(String... command) throws Exception {
        Process process;
        try {
            process = new ProcessBuilder(command)
                    .redirectErrorStream(true)
                    .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                    .start();
        } catch (IOException e) {
            return false;
        }
        try {
            assertThat(process.waitFor(2, TimeUnit.MINUTES))
                    .as("'%s' ends within two minutes", String.join(" ", command))
                    .isTrue();
            return process.exitValue() == 0;
        } finally {
            process.destroyForcibly();
        }
    }
}
