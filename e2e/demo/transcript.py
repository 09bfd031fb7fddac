"""What the visitor reads: headings, requests, answers, and whether each is as promised."""
import sys

COLOUR = sys.stdout.isatty()


def paint(text, code):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


class Transcript:
    def __init__(self):
        self.passed = self.failed = self.number = 0

    def say(self, text):
        print(text, flush=True)

    def progress(self, text):
        print(paint(f"... {text}", "2"), flush=True)

    def heading(self, text):
        self.number += 1
        print("\n" + paint(f"{self.number}. {text}", "1"), flush=True)

    def exchange(self, request, answer, headers=()):
        """One request and its answer; the headers named are shown, long values cut."""
        print(f"   > {request}")
        print(f"   < {answer.status} {answer.reason}")
        for name in headers:
            if answer.headers.get(name):
                print(f"   < {name}: {shorten(answer.headers[name], 150)}")
        if answer.text and answer.status >= 400:
            print(f"   < {shorten(answer.text, 200)}")
        sys.stdout.flush()

    def check(self, what, holds, otherwise=""):
        if holds:
            self.passed += 1
            print(paint(f"   ok    {what}", "32"), flush=True)
        else:
            self.failed += 1
            print(paint(f"   FAIL  {what}" + (f": {otherwise}" if otherwise else ""), "31"), flush=True)
        return holds


def shorten(text, length):
    return text if len(text) <= length else text[: length - 1] + "…"
