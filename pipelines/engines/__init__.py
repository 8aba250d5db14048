"""Where jobs run, whatever they are: worker processes of this machine."""
